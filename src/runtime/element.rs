//! Types of tensor elements.

use half::f16;

use crate::{Error, Result};

/// Type of a buffer's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Element::F16 => 2,
            Element::F32 | Element::I32 => 4,
            Element::I64 => 8,
        }
    }

    /// The float type called `name` (`f32` or `f16`) in a bundle's manifest.
    pub fn float(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Element::F32),
            "f16" => Ok(Element::F16),
            other => Err(Error::Internal(format!("caches of type {other:?} are not known"))),
        }
    }
}

/// A Rust type of buffer elements: any bits are a value, and zero bits are zero.
pub trait HostElement: sealed::Sealed + Copy + 'static {
    /// Its element type.
    const ELEMENT: Element;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! host_element {
    ($($rust:ty => $element:ident),*) => {$(
        impl sealed::Sealed for $rust {}
        impl HostElement for $rust {
            const ELEMENT: Element = Element::$element;
        }
    )*};
}
host_element!(f32 => F32, f16 => F16, i64 => I64, i32 => I32);
