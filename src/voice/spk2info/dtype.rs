//! Element types of torch's storages.

use half::{bf16, f16};

/// How the elements of a storage are coded, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Element {
    /// A float.
    Float(f32),
    /// A whole number.
    Int(i64),
}

impl Dtype {
    /// That of `torch.FloatStorage` and the like, by its name without the module.
    pub fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "DoubleStorage" => Dtype::F64,
            "FloatStorage" => Dtype::F32,
            "HalfStorage" => Dtype::F16,
            "BFloat16Storage" => Dtype::Bf16,
            "LongStorage" => Dtype::I64,
            "IntStorage" => Dtype::I32,
            "ShortStorage" => Dtype::I16,
            "CharStorage" => Dtype::I8,
            "ByteStorage" => Dtype::U8,
            "BoolStorage" => Dtype::Bool,
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub fn width(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
        }
    }

    /// The element whose first byte is at `at`; `None`: it is not all there.
    pub fn read(self, bytes: &[u8], at: usize) -> Option<Element> {
        let bytes = bytes.get(at..)?;
        Some(match self {
            Dtype::F64 => Element::Float(f64::from_le_bytes(*bytes.first_chunk()?) as f32),
            Dtype::F32 => Element::Float(f32::from_le_bytes(*bytes.first_chunk()?)),
            Dtype::F16 => Element::Float(f16::from_le_bytes(*bytes.first_chunk()?).to_f32()),
            Dtype::Bf16 => Element::Float(bf16::from_le_bytes(*bytes.first_chunk()?).to_f32()),
            Dtype::I64 => Element::Int(i64::from_le_bytes(*bytes.first_chunk()?)),
            Dtype::I32 => Element::Int(i32::from_le_bytes(*bytes.first_chunk()?).into()),
            Dtype::I16 => Element::Int(i16::from_le_bytes(*bytes.first_chunk()?).into()),
            Dtype::I8 => Element::Int(i8::from_le_bytes(*bytes.first_chunk()?).into()),
            Dtype::U8 | Dtype::Bool => Element::Int((*bytes.first()?).into()),
        })
    }
}
