//! The zip archive around a torch file: `<name>/data.pkl`, and `<name>/data/<key>` with the raw elements of each storage.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::rc::Rc;

use zip::ZipArchive;
use zip::result::ZipError;

use super::dtype::Element;
use super::pickle::Pickle;
use super::value::{Node, Refusal, Tensor};
use crate::limits;

/// How each entry of a zip archive's directory begins.
const ENTRY: &[u8] = b"PK\x01\x02";

/// An open file. Nothing is unpacked before it is asked for.
pub struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// What stands before `data.pkl`.
    root: String,
    /// Records unpacked so far: several tensors may view one.
    records: HashMap<String, Rc<Vec<u8>>>,
    /// Bytes that may still be unpacked or copied out of what was.
    room: usize,
}

/// A tensor's elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The elements.
    pub elements: Vec<Element>,
}

impl<'a> Archive<'a> {
    /// Reads the directory of a zip archive.
    ///
    /// # Errors
    /// When it is no torch file of the zip format, or of more than [`limits::ARCHIVE_ENTRIES`] entries.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if !bytes.starts_with(b"PK") {
            return Err(no_archive(bytes));
        }
        // Counted before the directory is read, which takes memory for each.
        let count = bytes
            .windows(ENTRY.len())
            .filter(|window| *window == ENTRY)
            .count();
        if count > limits::ARCHIVE_ENTRIES {
            let most = limits::ARCHIVE_ENTRIES;
            return Err(format!(
                "its archive has {count} entries; at most {most} are read"
            ));
        }
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        let mut roots = Vec::new();
        for name in zip.file_names() {
            let name = name.map_err(damaged)?;
            let root = name.strip_suffix("data.pkl");
            let root = root.filter(|root| root.is_empty() || root.ends_with('/'));
            roots.extend(root.map(str::to_owned));
        }
        let [root] = &roots[..] else {
            return Err("it is a zip archive without a data.pkl, so not a torch file".into());
        };
        Ok(Self {
            root: root.clone(),
            zip,
            records: HashMap::new(),
            room: 2 * limits::IMPORT_BYTES,
        })
    }

    /// What its pickle holds.
    ///
    /// # Errors
    /// As [`Pickle::read`]; a pickle of more than [`limits::PICKLE_BYTES`]; storages that are big-endian.
    pub fn pickle(&mut self) -> Result<Pickle, Refusal> {
        let byte_order = self.zip.index_for_name(&format!("{}byteorder", self.root));
        if byte_order.is_some() && self.unpack("byteorder", 16)? != b"little" {
            return Err("its numbers are big-endian; only little-endian ones are read".into());
        }
        Pickle::read(&self.unpack("data.pkl", limits::PICKLE_BYTES)?)
    }

    /// A tensor's elements.
    ///
    /// # Errors
    /// When it reaches beyond its storage, has more than [`limits::TENSOR_ELEMENTS`], or all tensors so far have too many.
    pub fn array(&mut self, pickle: &Pickle, tensor: &Tensor) -> Result<Array, Refusal> {
        let Node::Storage(storage) = pickle.get(tensor.storage) else {
            return Err("a tensor has no storage".into());
        };
        let (shape, strides) = layout(tensor, storage.elements)?;
        let count: usize = shape.iter().product();
        spend(&mut self.room, count * size_of::<f32>())?;
        let record = self.record(&storage.key)?;
        let width = storage.dtype.width();
        if (record.len() / width) < usize::try_from(storage.elements).unwrap_or(usize::MAX) {
            return Err(format!("storage {} is shorter than its pickle says", storage.key));
        }
        let mut elements = Vec::with_capacity(count);
        let mut index = vec![0; shape.len()];
        for _ in 0..count {
            let steps: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
            let at = (tensor.offset as usize + steps) * width;
            let element = storage.dtype.read(&record, at);
            elements.push(element.ok_or("a tensor reaches beyond its storage")?);
            advance(&mut index, &shape);
        }
        Ok(Array { shape, elements })
    }

    fn record(&mut self, key: &str) -> Result<Rc<Vec<u8>>, Refusal> {
        if let Some(record) = self.records.get(key) {
            return Ok(record.clone());
        }
        let record = Rc::new(self.unpack(&format!("data/{key}"), limits::IMPORT_BYTES)?);
        self.records.insert(key.to_owned(), record.clone());
        Ok(record)
    }

    /// An entry's content, at most `limit` bytes.
    fn unpack(&mut self, name: &str, limit: usize) -> Result<Vec<u8>, Refusal> {
        let reading = |error: &dyn std::fmt::Display| format!("its record {name} cannot be read: {error}");
        let file = match self.zip.by_name(&format!("{}{name}", self.root)) {
            Err(ZipError::FileNotFound) => return Err(format!("its record {name} is missing")),
            file => file.map_err(|error| reading(&error))?,
        };
        let size = usize::try_from(file.size()).unwrap_or(usize::MAX);
        if size > limit {
            return Err(format!(
                "its record {name} has {size} bytes; at most {limit} are read"
            ));
        }
        spend(&mut self.room, size)?;
        // One byte more than the directory says would show that it lies.
        let mut file = file.take(size as u64 + 1);
        let mut content = Vec::with_capacity(size);
        file.read_to_end(&mut content).map_err(|error| reading(&error))?;
        if content.len() != size {
            return Err(reading(&"its length is not what the archive says"));
        }
        Ok(content)
    }
}

fn spend(room: &mut usize, bytes: usize) -> Result<(), Refusal> {
    let left = room.checked_sub(bytes);
    *room = left.ok_or_else(|| format!("unpacked it is larger than {} bytes", limits::IMPORT_BYTES))?;
    Ok(())
}

/// Shape and strides of a tensor that lies within a storage of `elements`.
fn layout(tensor: &Tensor, elements: u64) -> Result<(Vec<usize>, Vec<usize>), Refusal> {
    if tensor.size.len() != tensor.stride.len() {
        return Err("a tensor has an impossible size or stride".into());
    }
    let count = tensor
        .size
        .iter()
        .try_fold(1_u64, |count, n| count.checked_mul(*n));
    let last = (tensor.size.iter().zip(&tensor.stride)).try_fold(tensor.offset, |last, (size, stride)| {
        last.checked_add(size.saturating_sub(1).checked_mul(*stride)?)
    });
    let within = count == Some(0) || last.is_some_and(|last| last < elements);
    if !within {
        return Err("a tensor reaches beyond its storage".into());
    }
    if count.is_none_or(|count| count > limits::TENSOR_ELEMENTS) {
        let most = limits::TENSOR_ELEMENTS;
        return Err(format!("a tensor has more than {most} elements"));
    }
    let numbers = |numbers: &[u64]| numbers.iter().map(|&n| n as usize).collect();
    Ok((numbers(&tensor.size), numbers(&tensor.stride)))
}

/// The next index in row-major order.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (i, length) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < *length {
            return;
        }
        *i = 0;
    }
}

fn damaged(error: impl std::fmt::Display) -> Refusal {
    format!("its zip archive is damaged: {error}")
}

fn no_archive(bytes: &[u8]) -> Refusal {
    // A pickle of protocol 2 and up begins so; before PyTorch 1.6 a torch file was a row of them.
    if bytes.first() == Some(&0x80) {
        return "it is a torch file of the format before PyTorch 1.6, a plain pickle, which is not read; load and save \
                it with a newer PyTorch"
            .into();
    }
    "it is not a torch file (a zip archive with a data.pkl)".into()
}
