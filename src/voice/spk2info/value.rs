//! What a pickle may hold: plain values, and tensors as views of an archive's records.

use super::dtype::Dtype;

/// Why a file is not read, in words for whoever sent it.
pub type Refusal = String;

/// Where a value lies in the arena.
pub type At = u32;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// A number.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<At>),
    /// A tuple.
    Tuple(Vec<At>),
    /// A dictionary, in the order it was filled; of equal keys the last one counts.
    Dict(Vec<(At, At)>),
    /// One of the few names a file may refer to.
    Global(Global),
    /// Elements in a record of the archive.
    Storage(Storage),
    /// A view of them.
    Tensor(Tensor),
}

/// The names a file may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch.Size`.
    Size,
    /// `torch._utils._rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// `torch.FloatStorage` and the like.
    StorageType(Dtype),
}

impl Global {
    /// The one of this name.
    ///
    /// # Errors
    /// Every other name is refused.
    pub fn named(module: &str, name: &str) -> Result<Self, Refusal> {
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Global::OrderedDict),
            ("torch", "Size") => Ok(Global::Size),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Global::RebuildParameter),
            _ => {
                let dtype = Dtype::of_storage(name).filter(|_| module == "torch");
                dtype.map(Global::StorageType).ok_or_else(|| {
                    let asked = shown(module) + "." + &shown(name);
                    format!("refused: it asks for {asked}; only tensors and plain data are read")
                })
            }
        }
    }
}

/// The start of a file's own text, for a refusal.
pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Elements in a record of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The record's name below `data/`.
    pub key: String,
    /// Element type.
    pub dtype: Dtype,
    /// How many there are.
    pub elements: u64,
}

/// A view of a storage, in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// What it views: a [`Node::Storage`].
    pub storage: At,
    /// First element.
    pub offset: u64,
    /// Length of each axis.
    pub size: Vec<u64>,
    /// Step along each axis.
    pub stride: Vec<u64>,
}
