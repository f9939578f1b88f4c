//! The `pinecone` program: runs a node, and controls and measures running nodes.
//!
//! Code that an application with an embedded node would also need does not belong here: it lives in the `pinecone`
//! library.

mod addresses;
mod admin;
mod bench;
mod cli;
mod copy;
mod cores;
mod directories;
mod failure;
mod files;
mod limits;
mod log_filter;
mod logging;
mod memory;
mod momentary;
mod output;
mod ping;
mod ping_series;
mod run;
mod secret;
mod show;
mod signals;
mod start_failure;
mod stderr;
mod transfer;

use std::path::Path;
use std::process::ExitCode;

use cli::{Cli, Command};
use failure::Failure;
use output::print;
use pinecone::SecretKey;

fn main() -> ExitCode {
    logging::catch_panics();
    let code = match cli::parse().and_then(|cli| cli.map_or(Ok(true), execute)) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(failure) => {
            stderr::say(&format!("pinecone: {failure}"));
            failure.code
        }
    };
    logging::end();
    ExitCode::from(code)
}

/// Executes a command. Returns false if it succeeded with a negative result, such as no answer to
/// any ping.
fn execute(cli: Cli) -> Result<bool, Failure> {
    let command = match cli.command {
        Some(command) => command,
        None => Command::Run(Box::new(cli.run)),
    };
    match command {
        Command::Genkey { key_file } => genkey(key_file.as_deref())?,
        Command::Pubkey {
            key_file,
            secretkey,
        } => {
            let key = given_key(key_file.as_deref(), secretkey.as_deref())?;
            print(&format!("{}\n", key.public_key()))?;
        }
        Command::Run(options) => block_on(run::run(*options))?,
        Command::Status { admin, json } => block_on(show::status(&admin, json))?,
        Command::Peers { admin, json, full } => block_on(show::peers(&admin, json, full))?,
        Command::Disconnect { admin, port } => block_on(show::disconnect(&admin, port))?,
        Command::Ping(options) => return block_on(ping::ping(options)),
        Command::Send { key, node, size } => block_on(copy::send(key, node, size))?,
        Command::Recv { node, keep } => block_on(copy::recv(node, keep))?,
        Command::Bench(options) => return block_on(bench::bench(options)),
    }
    Ok(true)
}

fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    files::check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::runtime(format!("cannot start the runtime: {e}")))?;
    let result = runtime.block_on(future);
    // Does not wait for lookups of names, which may take long.
    runtime.shutdown_background();
    result
}

fn genkey(path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else {
        return print(&format!("{}\n", *secret::to_hex(&secret::generate()?)));
    };
    let shown = path.display();
    let key = secret::create(path)?.ok_or_else(|| {
        Failure::runtime(format!(
            "{shown} already exists: remove it if its key is no longer needed"
        ))
    })?;
    print(&format!("{}\n", key.public_key()))
}

fn given_key(path: Option<&Path>, hex: Option<&str>) -> Result<SecretKey, Failure> {
    if let Some(path) = path {
        return secret::load(path);
    }
    if let Some(hex) = hex {
        return secret::parse(hex, "--secretkey");
    }
    secret::read_stdin()
}
