//! The execution providers of a device, best first, and their settings.

use std::path::PathBuf;

use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{ArenaExtendStrategy, CPU, CUDA, ExecutionProviderDispatch, TensorRT};

use super::{Device, GraphOptions};

/// How TensorRT builds the engines of a graph, and where it keeps them.
#[derive(Debug, Clone, Default)]
pub struct Engines {
    /// Directory of built engines and of kernel timings; building takes minutes.
    pub cache: PathBuf,
    /// Let engines compute in f16.
    pub fp16: bool,
    /// Smallest input shapes, as `x:1x80x50,mu:1x80x50`; all three or none.
    pub min_shapes: String,
    /// Input shapes the engines are tuned for.
    pub opt_shapes: String,
    /// Largest input shapes.
    pub max_shapes: String,
}

/// The providers of `options`. Every one must load: a GPU that was asked for and cannot be used is an error, not a
/// slow server.
pub(super) fn of(options: &GraphOptions) -> Vec<ExecutionProviderDispatch> {
    let mut providers = Vec::new();
    if let (Device::TensorRt(id), Some(engines)) = (options.device, &options.engines) {
        providers.push(tensorrt(id, engines, options.cuda_graph));
    }
    if let Some(id) = options.device.gpu() {
        providers.push(cuda(id, options.cuda_graph));
    }
    let cpu = CPU::default().with_arena_allocator(options.arena).build();
    providers.push(cpu.error_on_failure());
    providers
}

fn cuda(id: u32, graphs: bool) -> ExecutionProviderDispatch {
    CUDA::default()
        .with_device_id(id as i32)
        // Doubling would leave a second model's worth of memory unused.
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        // An exhaustive search costs seconds at every new shape, and shapes are new all the time.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        // Ten bits of mantissa are not what an fp32 bundle promises.
        .with_tf32(false)
        .with_cuda_graph(graphs)
        .build()
        .error_on_failure()
}

fn tensorrt(id: u32, engines: &Engines, graphs: bool) -> ExecutionProviderDispatch {
    let cache = engines.cache.display();
    let mut provider = TensorRT::default()
        .with_device_id(id as i32)
        .with_fp16(engines.fp16)
        .with_engine_cache(true)
        .with_engine_cache_path(&cache)
        .with_timing_cache(true)
        .with_timing_cache_path(&cache)
        .with_cuda_graph(graphs);
    if !engines.opt_shapes.is_empty() {
        provider = provider
            .with_profile_min_shapes(&engines.min_shapes)
            .with_profile_opt_shapes(&engines.opt_shapes)
            .with_profile_max_shapes(&engines.max_shapes);
    }
    provider.build().error_on_failure()
}
