//! Where a loaded session computes, and where it wants its inputs and outputs.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};

use ort::AsPointer;
use ort::session::Session;
use ort::sys;

/// For every input and output, in the session's order: whether the kernels want it in the host's memory.
pub(super) struct OnHost {
    pub inputs: Vec<bool>,
    pub outputs: Vec<bool>,
}

pub(super) fn outlets_on_host(session: &Session) -> ort::Result<OnHost> {
    let api = ort::api();
    Ok(OnHost {
        inputs: on_host(session, session.inputs().len(), api.SessionGetMemoryInfoForInputs)?,
        outputs: on_host(
            session,
            session.outputs().len(),
            api.SessionGetMemoryInfoForOutputs,
        )?,
    })
}

type MemoryInfos = unsafe extern "system" fn(
    *const sys::OrtSession,
    *mut *const sys::OrtMemoryInfo,
    usize,
) -> sys::OrtStatusPtr;

fn on_host(session: &Session, count: usize, memory_infos: MemoryInfos) -> ort::Result<Vec<bool>> {
    let mut infos = vec![std::ptr::null(); count];
    // SAFETY: the session is alive and has `count` of them; the library fills `infos` with pointers it owns, which
    // live as long as the session.
    check(unsafe { memory_infos(session.ptr(), infos.as_mut_ptr(), count) })?;
    let api = ort::api();
    Ok(infos
        .into_iter()
        .map(|info| {
            let mut kind = sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU;
            // SAFETY: `info` was just given by the library; both calls read its fields.
            let pinned = unsafe {
                (api.MemoryInfoGetDeviceType)(info, &mut kind);
                (api.MemoryInfoGetDeviceMemType)(info)
                    == sys::OrtDeviceMemoryType::OrtDeviceMemoryType_HOST_ACCESSIBLE
            };
            pinned || kind == sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU
        })
        .collect())
}

/// Logs how many nodes each execution provider took, and which kinds were left to the CPU.
pub(super) fn log(name: &str, session: &Session) -> ort::Result<()> {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return Ok(());
    }
    for (provider, kinds) in assigned(session)? {
        let nodes: usize = kinds.values().sum();
        match provider.starts_with("CPU") {
            true => tracing::debug!(graph = name, provider, nodes, ?kinds, "nodes placed"),
            false => tracing::debug!(graph = name, provider, nodes, "nodes placed"),
        }
    }
    Ok(())
}

/// Nodes by provider and operator.
fn assigned(session: &Session) -> ort::Result<BTreeMap<String, BTreeMap<String, usize>>> {
    let api = ort::api();
    let mut found: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let (mut subgraphs, mut count) = (std::ptr::null(), 0);
    // SAFETY: the library gives arrays and strings that it owns and that live as long as the session, with their
    // lengths; each pointer is read right after the call that gave it succeeded.
    unsafe {
        check((api.Session_GetEpGraphAssignmentInfo)(
            session.ptr(),
            &mut subgraphs,
            &mut count,
        ))?;
        for i in 0..count {
            let subgraph = *subgraphs.add(i);
            let mut provider = std::ptr::null();
            check((api.EpAssignedSubgraph_GetEpName)(subgraph, &mut provider))?;
            let kinds = found.entry(text(provider)).or_default();
            let (mut nodes, mut n) = (std::ptr::null(), 0);
            check((api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut n))?;
            for j in 0..n {
                let mut kind = std::ptr::null();
                check((api.EpAssignedNode_GetOperatorType)(*nodes.add(j), &mut kind))?;
                *kinds.entry(text(kind)).or_default() += 1;
            }
        }
    }
    Ok(found)
}

/// # Safety
/// `string` must be null or a C string that stays as it is during the call.
unsafe fn text(string: *const c_char) -> String {
    match string.is_null() {
        true => String::new(),
        // SAFETY: the caller's promise.
        false => unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned(),
    }
}

fn check(status: sys::OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: every caller passes the status it was just given.
    unsafe { ort::Error::result_from_status(status) }
}
