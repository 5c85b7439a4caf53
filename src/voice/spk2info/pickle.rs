//! A pickle machine that builds plain data and nothing else.
//!
//! It knows the opcodes that `torch.save` writes for dictionaries, lists, tuples, strings, numbers and tensors. Every
//! other opcode and every other global is refused by its name; nothing of the file is ever called. What it builds lies in
//! one arena and refers by index: shared values cost nothing twice, cycles do no harm, and no nesting needs a deep stack.

use std::collections::HashMap;

use super::opcodes as op;
use super::value::{At, Global, Node, Refusal, Storage, Tensor};
use crate::limits;

/// Axes of a tensor: what voices have needs 3.
const MOST_AXES: usize = 8;
/// Bytes of a record's name; torch counts them.
const MOST_KEY_BYTES: usize = 64;

/// What a pickle holds.
#[derive(Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: At,
}

impl Pickle {
    /// Builds what `bytes` describe.
    ///
    /// # Errors
    /// The first thing that is refused, damaged or beyond [`limits::PICKLE_VALUES`].
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut machine = Machine {
            input: bytes,
            ..Machine::default()
        };
        loop {
            match machine.byte()? {
                op::STOP => break,
                other => machine.step(other)?,
            }
        }
        let root = machine.pop()?;
        Ok(Self {
            nodes: machine.nodes,
            root,
        })
    }

    /// What the whole of it is.
    pub fn root(&self) -> &Node {
        self.get(self.root)
    }

    /// The value at `at`, which is an index that a node of this pickle gave.
    pub fn get(&self, at: At) -> &Node {
        self.nodes.get(at as usize).unwrap_or(&Node::None)
    }
}

#[derive(Default)]
struct Machine<'a> {
    input: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<At>,
    marks: Vec<usize>,
    memo: HashMap<u32, At>,
}

fn damaged() -> Refusal {
    "its pickle is damaged".into()
}

impl Machine<'_> {
    fn step(&mut self, opcode: u8) -> Result<(), Refusal> {
        match opcode {
            op::PROTO => self.take(1).map(drop),
            op::FRAME => self.take(8).map(drop),
            op::MARK => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            op::NONE => self.push(Node::None),
            op::NEWTRUE => self.push(Node::Bool(true)),
            op::NEWFALSE => self.push(Node::Bool(false)),
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 | op::BINFLOAT => self.number(opcode),
            op::SHORT_BINUNICODE => self.text(1),
            op::BINUNICODE => self.text(4),
            op::BINUNICODE8 => self.text(8),
            op::EMPTY_DICT => self.push(Node::Dict(Vec::new())),
            op::EMPTY_LIST => self.push(Node::List(Vec::new())),
            op::EMPTY_TUPLE => self.push(Node::Tuple(Vec::new())),
            op::TUPLE => self.since_mark().and_then(|items| self.push(Node::Tuple(items))),
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let items = self.last(usize::from(opcode - op::TUPLE1) + 1)?;
                self.push(Node::Tuple(items))
            }
            op::APPEND => self.last(1).and_then(|items| self.extend(items)),
            op::APPENDS => self.since_mark().and_then(|items| self.extend(items)),
            op::SETITEM => self.last(2).and_then(|items| self.insert(&items)),
            op::SETITEMS => self.since_mark().and_then(|items| self.insert(&items)),
            op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => self.remember(opcode),
            op::BINGET | op::LONG_BINGET => self.recall(opcode),
            op::GLOBAL | op::STACK_GLOBAL => self.global(opcode),
            op::REDUCE => self.reduce(),
            op::BINPERSID => self.storage(),
            other => Err(refused_opcode(other)),
        }
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Refusal> {
        let (head, rest) = self.input.split_at_checked(count).ok_or_else(damaged)?;
        self.input = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A little-endian number of `width` bytes, 8 at most.
    fn unsigned(&mut self, width: usize) -> Result<u64, Refusal> {
        let bytes = self.take(width)?.iter().rev();
        Ok(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn push(&mut self, node: Node) -> Result<(), Refusal> {
        if self.nodes.len() >= limits::PICKLE_VALUES {
            return Err(format!("it holds more than {} values", limits::PICKLE_VALUES));
        }
        self.stack.push(self.nodes.len() as At);
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Result<At, Refusal> {
        // What lies below a mark belongs to somebody else.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(damaged());
        }
        self.stack.pop().ok_or_else(damaged)
    }

    /// Takes the last `count` values.
    fn last(&mut self, count: usize) -> Result<Vec<At>, Refusal> {
        let mut items: Vec<At> = (0..count).map(|_| self.pop()).collect::<Result<_, _>>()?;
        items.reverse();
        Ok(items)
    }

    /// Takes the values since the last mark, and the mark.
    fn since_mark(&mut self) -> Result<Vec<At>, Refusal> {
        let mark = self.marks.pop().ok_or_else(damaged)?;
        if mark > self.stack.len() {
            return Err(damaged());
        }
        Ok(self.stack.split_off(mark))
    }

    /// The node on top of the stack, which stays there.
    fn top(&mut self) -> Result<&mut Node, Refusal> {
        let at = self.pop()?;
        self.stack.push(at);
        self.nodes.get_mut(at as usize).ok_or_else(damaged)
    }

    fn extend(&mut self, items: Vec<At>) -> Result<(), Refusal> {
        match self.top()? {
            Node::List(list) => list.extend(items),
            _ => return Err(damaged()),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[At]) -> Result<(), Refusal> {
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err(damaged());
        };
        match self.top()? {
            Node::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err(damaged()),
        }
        Ok(())
    }

    fn number(&mut self, opcode: u8) -> Result<(), Refusal> {
        let node = match opcode {
            op::BININT1 => Node::Int(self.unsigned(1)? as i64),
            op::BININT2 => Node::Int(self.unsigned(2)? as i64),
            op::BININT => Node::Int(i64::from(self.unsigned(4)? as u32 as i32)),
            op::BINFLOAT => Node::Float(f64::from_bits(self.unsigned(8)?.swap_bytes())),
            _ => {
                let width = usize::from(self.byte()?);
                if width > 8 {
                    return Err(format!("it holds a number of {width} bytes; 8 are read"));
                }
                let number = self.unsigned(width)?;
                // Two's complement of `width` bytes.
                let unused = 64 - 8 * width as u32;
                Node::Int((number.checked_shl(unused).unwrap_or(0) as i64) >> unused.min(63))
            }
        };
        self.push(node)
    }

    fn text(&mut self, width: usize) -> Result<(), Refusal> {
        let length = usize::try_from(self.unsigned(width)?).map_err(|_| damaged())?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| damaged())?;
        let text = text.to_owned();
        self.push(Node::Text(text))
    }

    fn remember(&mut self, opcode: u8) -> Result<(), Refusal> {
        let key = match opcode {
            op::BINPUT => self.unsigned(1)? as u32,
            op::LONG_BINPUT => self.unsigned(4)? as u32,
            _ => self.memo.len() as u32,
        };
        let at = self.pop()?;
        self.stack.push(at);
        self.memo.insert(key, at);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<(), Refusal> {
        let width = if opcode == op::BINGET { 1 } else { 4 };
        let key = self.unsigned(width)? as u32;
        let at = self.memo.get(&key).ok_or_else(damaged)?;
        self.stack.push(*at);
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<(), Refusal> {
        let global = if opcode == op::GLOBAL {
            let (module, name) = (self.line()?, self.line()?);
            Global::named(&module, &name)?
        } else {
            match self.last(2)?[..] {
                [module, name] => Global::named(self.text_at(module)?, self.text_at(name)?)?,
                _ => return Err(damaged()),
            }
        };
        self.push(Node::Global(global))
    }

    fn line(&mut self) -> Result<String, Refusal> {
        let length = self.input.iter().position(|&byte| byte == b'\n');
        let line = self.take(length.ok_or_else(damaged)?)?;
        let line = std::str::from_utf8(line).map_err(|_| damaged())?.to_owned();
        self.take(1)?;
        Ok(line)
    }

    fn node(&self, at: At) -> Result<&Node, Refusal> {
        self.nodes.get(at as usize).ok_or_else(damaged)
    }

    fn text_at(&self, at: At) -> Result<&str, Refusal> {
        match self.node(at)? {
            Node::Text(text) => Ok(text),
            _ => Err(damaged()),
        }
    }

    fn lengths(&self, at: At) -> Result<Vec<u64>, Refusal> {
        let (Node::Tuple(items) | Node::List(items)) = self.node(at)? else {
            return Err(damaged());
        };
        if items.len() > MOST_AXES {
            return Err(format!(
                "a tensor has {} axes; at most {MOST_AXES} are read",
                items.len()
            ));
        }
        items.iter().map(|&item| self.length(item)).collect()
    }

    fn length(&self, at: At) -> Result<u64, Refusal> {
        match self.node(at)? {
            Node::Int(length) => {
                u64::try_from(*length).map_err(|_| "a tensor has an impossible size or stride".into())
            }
            _ => Err(damaged()),
        }
    }

    /// What a call of a known name with these arguments stands for.
    fn reduce(&mut self) -> Result<(), Refusal> {
        let items = self.last(2)?;
        let (Some(Node::Global(called)), Some(Node::Tuple(arguments))) = (
            items.first().map(|&at| self.node(at)).transpose()?,
            items.get(1).map(|&at| self.node(at)).transpose()?,
        ) else {
            return Err(damaged());
        };
        let node = match (called, &arguments[..]) {
            (Global::OrderedDict, []) => Node::Dict(Vec::new()),
            (Global::RebuildTensor, &[storage, offset, size, stride, ..]) => {
                if !matches!(self.node(storage)?, Node::Storage(_)) {
                    return Err(damaged());
                }
                Node::Tensor(Tensor {
                    storage,
                    offset: self.length(offset)?,
                    size: self.lengths(size)?,
                    stride: self.lengths(stride)?,
                })
            }
            // A size is its lengths, a parameter its tensor.
            (Global::Size, &[value]) | (Global::RebuildParameter, &[value, ..]) => {
                self.stack.push(value);
                return Ok(());
            }
            _ => return Err(damaged()),
        };
        self.push(node)
    }

    /// A persistent id names a storage: `("storage", type, key, device, elements)`.
    fn storage(&mut self) -> Result<(), Refusal> {
        let at = self.pop()?;
        let Node::Tuple(parts) = self.node(at)? else {
            return Err(damaged());
        };
        let &[kind, dtype, key, _, elements] = &parts[..] else {
            return Err(damaged());
        };
        let Node::Global(Global::StorageType(dtype)) = *self.node(dtype)? else {
            return Err(damaged());
        };
        if self.text_at(kind)? != "storage" {
            return Err(damaged());
        }
        let key = self.text_at(key)?;
        if key.len() > MOST_KEY_BYTES {
            return Err(damaged());
        }
        let storage = Storage {
            key: key.to_owned(),
            dtype,
            elements: self.length(elements)?,
        };
        self.push(Node::Storage(storage))
    }
}

fn refused_opcode(opcode: u8) -> Refusal {
    let known = op::REFUSED.iter().find(|(code, _)| *code == opcode);
    let name = known.map_or_else(|| format!("{opcode:#04x}"), |(_, name)| (*name).to_owned());
    format!("refused: pickle opcode {name}; only tensors and plain data are read")
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
