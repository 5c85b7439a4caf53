//! A stream whose peer must greet in time: one that connects and says nothing would hold its place for ever.

use std::{
    future::Future,
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// Passes everything on; reads fail with [`ErrorKind::TimedOut`] when the first `bytes` have not come within a limit.
pub struct Greeted<T> {
    inner: T,
    missing: usize,
    timer: Pin<Box<Sleep>>,
}

impl<T> Greeted<T> {
    /// Around `inner`, from now on.
    pub fn new(inner: T, bytes: usize, limit: Duration) -> Self {
        Self {
            inner,
            missing: bytes,
            timer: Box::pin(tokio::time::sleep(limit)),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Greeted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(cx, buf) {
            self.missing = self.missing.saturating_sub(buf.filled().len() - before);
            return Poll::Ready(read);
        }
        if self.missing == 0 {
            return Poll::Pending;
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer said nothing")))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Greeted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_says_too_little_is_given_up() {
        let (near, mut far) = tokio::io::duplex(16);
        far.write_all(&[0; 2]).await.unwrap();
        let mut near = Greeted::new(near, 3, Duration::from_millis(50));
        let read = near.read_exact(&mut [0; 3]).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_that_has_greeted_may_be_quiet() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = Greeted::new(near, 3, Duration::from_millis(50));
        far.write_all(&[0; 3]).await.unwrap();
        near.read_exact(&mut [0; 3]).await.unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(150)).await;
            far.write_all(&[7]).await.unwrap();
            far
        });
        assert_eq!(near.read_u8().await.unwrap(), 7);
    }
}
