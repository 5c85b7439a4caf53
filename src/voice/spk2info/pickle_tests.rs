//! What the machine builds, and what it refuses.

use proptest::prelude::*;

use super::super::tests::torch_writer::{self, Value};
use super::*;

fn read(value: &Value) -> Result<Pickle, Refusal> {
    Pickle::read(&torch_writer::pickle(value).0)
}

fn refusal(bytes: &[u8]) -> Refusal {
    Pickle::read(bytes).unwrap_err()
}

/// The values of a list or a tuple at the root.
fn items(pickle: &Pickle) -> Vec<Node> {
    let (Node::List(items) | Node::Tuple(items)) = pickle.root() else {
        panic!("{:?}", pickle.root())
    };
    items.iter().map(|&at| pickle.get(at).clone()).collect()
}

#[test]
fn plain_data_is_built() {
    let numbers = [0, 255, 256, -1, i64::MAX, i64::MIN].map(Value::Int).to_vec();
    let pickle = read(&Value::List(numbers)).unwrap();
    let want = [0, 255, 256, -1, i64::MAX, i64::MIN].map(Node::Int);
    assert_eq!(items(&pickle), want);
    let mixed = vec![
        Value::None,
        Value::Bool(true),
        Value::Float(2.5),
        Value::text("你好"),
    ];
    assert_eq!(
        items(&read(&Value::Tuple(mixed)).unwrap()),
        [
            Node::None,
            Node::Bool(true),
            Node::Float(2.5),
            Node::Text("你好".into())
        ]
    );
    let dict = read(&Value::dict([("a", Value::Int(1)), ("b", Value::None)])).unwrap();
    let Node::Dict(pairs) = dict.root() else {
        panic!("{:?}", dict.root())
    };
    assert_eq!(dict.get(pairs[0].0), &Node::Text("a".into()));
    assert_eq!((dict.get(pairs[0].1), pairs.len()), (&Node::Int(1), 2));
}

/// Guarantees the other spellings of the same values: what protocols 2 to 5 of Python's pickle write.
#[test]
fn every_protocol_is_read() {
    // pickle.dumps([1, 300, -5, 70000, "x", (1, 2), {"k": None}], protocol)
    let two = b"\x80\x02]q\x00(K\x01M,\x01J\xfb\xff\xff\xffJp\x11\x01\x00X\x01\x00\x00\x00xq\x01K\x01K\x02\x86q\x02}q\x03X\x01\x00\x00\x00kq\x04Nse.";
    let four = b"\x80\x04\x95\x28\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01M,\x01J\xfb\xff\xff\xffJp\x11\x01\x00\x8c\x01x\x94K\x01K\x02\x86\x94}\x94\x8c\x01k\x94Nse.";
    for bytes in [&two[..], &four[..]] {
        let pickle = Pickle::read(bytes).unwrap();
        let values = items(&pickle);
        let ints = [1, 300, -5, 70_000].map(Node::Int);
        assert_eq!((&values[..4], &values[4]), (&ints[..], &Node::Text("x".into())));
        assert!(matches!(&values[5], Node::Tuple(pair) if pair.len() == 2));
        assert!(matches!(&values[6], Node::Dict(pairs) if pairs.len() == 1));
    }
    let short = |width: u8, number: &[u8]| Pickle::read(&[&[0x8a, width], number, b"."].concat());
    assert_eq!(short(0, b"").unwrap().root(), &Node::Int(0));
    assert_eq!(short(1, b"\xff").unwrap().root(), &Node::Int(-1));
    assert_eq!(short(3, b"\x00\x00\x01").unwrap().root(), &Node::Int(65_536));
}

#[test]
fn what_is_shared_is_one_value_and_a_cycle_ends() {
    // a = {}; [a, a], with a filled after it was remembered
    let pickle = Pickle::read(b"(}q\x00h\x00X\x01\x00\x00\x00kK\x07s0t."); // POP is refused
    assert!(pickle.unwrap_err().contains("0x30"));
    let pickle = Pickle::read(b"](}q\x00X\x01\x00\x00\x00kK\x07sh\x00e.").unwrap();
    let Node::List(both) = pickle.root() else {
        panic!("{:?}", pickle.root())
    };
    assert_eq!(both[0], both[1]);
    assert!(matches!(pickle.get(both[1]), Node::Dict(pairs) if pairs.len() == 1));
    // a list that holds itself
    let cycle = Pickle::read(b"]q\x00h\x00a.").unwrap();
    assert!(matches!(cycle.root(), Node::List(items) if cycle.get(items[0]) == cycle.root()));
}

#[test]
fn other_globals_are_refused_by_name() {
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch", "_C"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("collections", "FloatStorage"),
        ("torch._utils", "_rebuild_tensor"),
    ] {
        let why = read(&Value::Global(module, name)).unwrap_err();
        assert!(
            why.starts_with("refused: ") && why.contains(&format!("{module}.{name};")),
            "{why}"
        );
        // As protocol 4 spells it.
        let stack = [Value::text(module), Value::text(name), Value::Raw(vec![0x93])];
        assert_eq!(read(&Value::Tuple(stack.to_vec())).unwrap_err(), why);
    }
    // pickle.dumps of an object whose __reduce__ gives (os.system, ("true",))
    let hostile = b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.";
    assert!(refusal(hostile).starts_with("refused: it asks for posix.system;"));
}

#[test]
fn opcodes_that_make_objects_are_refused_by_name() {
    for (opcode, name) in op::REFUSED {
        let why = refusal(&[b"}}"[..].to_vec(), vec![opcode, b'.']].concat());
        assert!(
            why.starts_with(&format!("refused: pickle opcode {name};")),
            "{why}"
        );
    }
    // Known names are only ever called with what torch gives them.
    let call = |name: Value| {
        Value::Raw(
            [
                torch_writer::pickle(&name).0[2..].strip_suffix(b".").unwrap(),
                b"(K\x01tR",
            ]
            .concat(),
        )
    };
    for name in [
        Value::Global("collections", "OrderedDict"),
        Value::Global("torch", "FloatStorage"),
        Value::Global("torch._utils", "_rebuild_tensor_v2"),
        Value::text("a string"),
    ] {
        assert_eq!(read(&call(name)).unwrap_err(), damaged());
    }
}

#[test]
fn there_are_bounds() {
    let many = [&b"("[..], &vec![b'N'; limits::PICKLE_VALUES], b"t."].concat();
    assert!(refusal(&many).contains("more than 524288 values"));
    assert!(Pickle::read(&[&b"("[..], &vec![b'N'; limits::PICKLE_VALUES - 1], b"t."].concat()).is_ok());
    // Nesting costs no stack, neither when it is built nor when it is dropped.
    let deep = [vec![b']'; 200_000], vec![b'a'; 199_999], b".".to_vec()].concat();
    assert!(Pickle::read(&deep).is_ok());
    assert!(refusal(b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00.").contains("9 bytes"));
    let axes = Value::tensor("FloatStorage", &[1; 9], vec![0; 4]);
    assert!(read(&axes).unwrap_err().contains("9 axes"));
}

#[test]
fn a_size_is_never_negative() {
    let Value::Tensor(mut tensor) = Value::floats(&[2], &[1.0, 2.0]) else {
        panic!("a tensor")
    };
    tensor.stride = vec![-1];
    assert!(
        read(&Value::Tensor(tensor))
            .unwrap_err()
            .contains("impossible size or stride")
    );
}

/// A speaker as the reference saves it: every opcode that occurs.
fn saved() -> Vec<u8> {
    let speaker = torch_writer::zero_shot_speaker(&[0.5; 4], &[1, 300], &[7], &[0.0; 4], 2);
    torch_writer::pickle(&Value::dict([("小明", speaker)])).0
}

#[test]
fn a_file_cut_anywhere_is_damaged() {
    let whole = saved();
    assert!(Pickle::read(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(Pickle::read(&whole[..end]).is_err(), "{end}");
    }
}

proptest! {
    /// Guarantees that no bytes make the machine panic or hang.
    #[test]
    fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Pickle::read(&bytes);
    }

    #[test]
    fn a_file_changed_anywhere_ends(at in 0..1_000_usize, byte in any::<u8>(), cut in 0..3_usize) {
        let mut bytes = saved();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.drain(at..(at + cut).min(bytes.len()));
        let _ = Pickle::read(&bytes);
    }
}
