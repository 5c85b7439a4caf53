//! Writes `.pt` files without PyTorch, so that tests can make odd and hostile ones.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Something to save.
#[derive(Clone)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A name that the pickle shall refer to.
    Global(&'static str, &'static str),
    Tensor(Tensor),
    /// Opcodes as they are.
    Raw(Vec<u8>),
}

/// A view of a storage of its own, in elements.
#[derive(Clone)]
pub struct Tensor {
    /// As in `FloatStorage`.
    pub storage: &'static str,
    /// Elements that the pickle says the storage has.
    pub elements: usize,
    /// What its record holds.
    pub bytes: Vec<u8>,
    pub offset: i64,
    pub size: Vec<i64>,
    pub stride: Vec<i64>,
}

impl Value {
    pub fn text(text: &str) -> Self {
        Value::Text(text.into())
    }

    /// A dictionary with strings as keys.
    pub fn dict<'k>(items: impl IntoIterator<Item = (&'k str, Value)>) -> Self {
        Value::Dict(
            items
                .into_iter()
                .map(|(key, value)| (Value::text(key), value))
                .collect(),
        )
    }

    /// A contiguous float32 tensor.
    pub fn floats(size: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::tensor("FloatStorage", size, bytes)
    }

    /// A contiguous int32 tensor.
    pub fn ints(size: &[usize], values: &[i64]) -> Self {
        let bytes = values
            .iter()
            .flat_map(|&value| (value as i32).to_le_bytes())
            .collect();
        Self::tensor("IntStorage", size, bytes)
    }

    /// A contiguous tensor of any type.
    pub fn tensor(storage: &'static str, size: &[usize], bytes: Vec<u8>) -> Self {
        let stride = (0..size.len()).map(|axis| size[axis + 1..].iter().product::<usize>() as i64);
        Value::Tensor(Tensor {
            storage,
            elements: size.iter().product(),
            bytes,
            offset: 0,
            stride: stride.collect(),
            size: size.iter().map(|&n| n as i64).collect(),
        })
    }
}

/// A speaker as the reference saves a zero-shot one.
pub fn zero_shot_speaker(
    embedding: &[f32],
    text: &[i64],
    tokens: &[i64],
    feat: &[f32],
    bins: usize,
) -> Value {
    let frames = feat.len() / bins;
    let ints = |values: &[i64]| Value::ints(&[1, values.len()], values);
    let length = |length: usize| Value::ints(&[1], &[length as i64]);
    let embedding = || Value::floats(&[1, embedding.len()], embedding);
    Value::dict([
        ("prompt_text", ints(text)),
        ("prompt_text_len", length(text.len())),
        ("llm_prompt_speech_token", ints(tokens)),
        ("llm_prompt_speech_token_len", length(tokens.len())),
        ("flow_prompt_speech_token", ints(tokens)),
        ("flow_prompt_speech_token_len", length(tokens.len())),
        ("prompt_speech_feat", Value::floats(&[1, frames, bins], feat)),
        ("prompt_speech_feat_len", length(frames)),
        ("llm_embedding", embedding()),
        ("flow_embedding", embedding()),
    ])
}

/// The pickle of `value` (protocol 2, as torch writes it) and the records it names.
pub fn pickle(value: &Value) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut out = (vec![0x80, 2], Vec::new());
    write(value, &mut out);
    out.0.push(b'.');
    out
}

fn write(value: &Value, out: &mut (Vec<u8>, Vec<Vec<u8>>)) {
    let push = |out: &mut (Vec<u8>, Vec<Vec<u8>>), bytes: &[u8]| out.0.extend_from_slice(bytes);
    match value {
        Value::None => push(out, b"N"),
        Value::Bool(value) => push(out, &[if *value { 0x88 } else { 0x89 }]),
        Value::Int(value) => match u8::try_from(*value) {
            Ok(small) => push(out, &[b'K', small]),
            Err(_) => push(out, &[&[0x8a, 8][..], &value.to_le_bytes()].concat()),
        },
        Value::Float(value) => push(out, &[&b"G"[..], &value.to_be_bytes()].concat()),
        Value::Text(text) => {
            let length = (text.len() as u32).to_le_bytes();
            push(out, &[&b"X"[..], &length, text.as_bytes()].concat());
        }
        Value::List(items) => {
            push(out, b"](");
            items.iter().for_each(|item| write(item, out));
            push(out, b"e");
        }
        Value::Tuple(items) => {
            push(out, b"(");
            items.iter().for_each(|item| write(item, out));
            push(out, b"t");
        }
        Value::Dict(items) => {
            push(out, b"}(");
            for (key, value) in items {
                write(key, out);
                write(value, out);
            }
            push(out, b"u");
        }
        Value::Global(module, name) => push(out, format!("c{module}\n{name}\n").as_bytes()),
        Value::Tensor(tensor) => write_tensor(tensor, out),
        Value::Raw(bytes) => push(out, bytes),
    }
}

fn write_tensor(tensor: &Tensor, out: &mut (Vec<u8>, Vec<Vec<u8>>)) {
    let numbers = |numbers: &[i64]| Value::Tuple(numbers.iter().map(|&n| Value::Int(n)).collect());
    let id = Value::Tuple(vec![
        Value::text("storage"),
        Value::Global("torch", tensor.storage),
        Value::Text(out.1.len().to_string()),
        Value::text("cpu"),
        Value::Int(tensor.elements as i64),
    ]);
    out.1.push(tensor.bytes.clone());
    write(&Value::Global("torch._utils", "_rebuild_tensor_v2"), out);
    out.0.push(b'(');
    write(&id, out);
    out.0.push(b'Q');
    write(&Value::Int(tensor.offset), out);
    write(&numbers(&tensor.size), out);
    write(&numbers(&tensor.stride), out);
    write(&Value::Bool(false), out);
    write(&Value::Global("collections", "OrderedDict"), out);
    out.0.extend_from_slice(b")RtR");
}

/// The file that torch.save would make of `value`.
pub fn file(value: &Value) -> Vec<u8> {
    let (pickle, records) = pickle(value);
    let mut entries = vec![
        ("archive/data.pkl".to_owned(), pickle),
        ("archive/byteorder".to_owned(), b"little".to_vec()),
    ];
    let record = |(key, bytes)| (format!("archive/data/{key}"), bytes);
    entries.extend(records.into_iter().enumerate().map(record));
    entries.push(("archive/version".to_owned(), b"3\n".to_vec()));
    zip_of(&entries, CompressionMethod::Stored)
}

/// A zip archive of these entries.
pub fn zip_of(entries: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in entries {
        writer.start_file(name.as_str(), options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
