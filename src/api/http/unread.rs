//! Request bodies that their handler did not read to the end.
//!
//! A client that is still sending when the answer is written and the connection closed gets its connection reset, and
//! most clients then report that instead of the answer. So what is left of the body of a refused request is taken in
//! and thrown away first, within bounds.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, extract::Request, http::header};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

use crate::limits;

/// The body of a request, shared between its handler and [`Unread::discard`].
#[derive(Clone)]
pub struct Unread(Arc<Mutex<Shared>>);

struct Shared {
    body: Body,
    /// The client sends its body only when asked to (`Expect: 100-continue`), and nobody has asked yet.
    held_back: bool,
}

impl Unread {
    /// Puts itself between the request and its body.
    pub fn watch(request: Request) -> (Self, Request) {
        let (parts, body) = request.into_parts();
        let held_back = parts.headers.contains_key(header::EXPECT);
        let unread = Self(Arc::new(Mutex::new(Shared { body, held_back })));
        let request = Request::from_parts(parts, Body::new(unread.clone()));
        (unread, request)
    }

    /// Takes in what is left, at most [`limits::DISCARD_BYTES`] and for [`limits::DISCARD_TIME`].
    pub async fn discard(mut self) {
        if self.0.lock().held_back {
            return;
        }
        let all = async {
            let mut total = 0;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
                total += frame.data_ref().map_or(0, Bytes::len);
                if total > limits::DISCARD_BYTES {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(limits::DISCARD_TIME, all).await;
    }
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut shared = self.0.lock();
        shared.held_back = false;
        Pin::new(&mut shared.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}
