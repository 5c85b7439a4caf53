//! Makes the gRPC service's code and its descriptors of `openapi/cosyvoice.proto`, without protoc and without a network.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=openapi/cosyvoice.proto");
    let mut compiler = protox::Compiler::new(["openapi"])?;
    compiler.include_source_info(true).open_file("cosyvoice.proto")?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("cosyvoice_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        // The client takes any connection, so that it needs none of tonic's
        .build_transport(false)
        .bytes(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
