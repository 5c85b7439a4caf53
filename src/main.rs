//! The `cosyserve` command.
fn main() -> std::process::ExitCode {
    cosyserve::cli::main()
}
