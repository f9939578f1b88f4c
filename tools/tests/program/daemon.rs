//! Running daemons, and waiting for conditions.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pinecone_wire::{PublicKey, SecretKey};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Time limit of a single step on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A `pinecone run`. Killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    directory: TempDir,
    log: Arc<Mutex<String>>,
    pub(crate) key: PublicKey,
    /// `host:port` of each listener.
    pub(crate) listeners: Vec<String>,
    /// The lines that it printed at the start.
    pub(crate) banner: String,
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) rss: u64,
    /// The maximum so far.
    pub(crate) peak: u64,
}

/// The parameters of a daemon.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// Seed of the key. By default, the daemon creates a key.
    pub(crate) seed: Option<u8>,
    /// The address to listen on. Default: a free port of 127.0.0.1.
    pub(crate) listen: Option<&'a str>,
    pub(crate) connect: Vec<String>,
    pub(crate) arguments: &'a [&'a str],
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// A network namespace to run in.
    pub(crate) namespace: Option<&'a str>,
    /// Standard error. Default: collected for [`Daemon::log`].
    pub(crate) stderr: Option<Stdio>,
    /// The limit on open files.
    pub(crate) files: Option<u32>,
    /// The directory of a cgroup to run in.
    pub(crate) cgroup: Option<&'a Path>,
}

impl Start<'_> {
    /// Starts the daemon and waits until it listens.
    pub(crate) fn run(self) -> Daemon {
        let directory = TempDir::new().unwrap();
        let key_file = directory.path().join("key");
        if let Some(seed) = self.seed {
            write_key(&key_file, seed);
        }
        let mut command = self.program();
        at_home(&mut command, directory.path());
        command
            .args(["run", "--listen", self.listen.unwrap_or("127.0.0.1:0")])
            .arg("--key-file")
            .arg(&key_file)
            .arg("--admin")
            .arg(admin_path(&directory))
            .args(self.arguments)
            .envs(self.environment.iter().copied());
        for peer in &self.connect {
            command.args(["--connect", peer]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.stderr.unwrap_or_else(Stdio::piped))
            .spawn()
            .unwrap();
        let log = child.stderr.take().map(collect).unwrap_or_default();
        let mut daemon = Daemon {
            key: PublicKey::default(),
            listeners: Vec::new(),
            banner: String::new(),
            directory,
            log,
            child,
        };
        // The banner ends with the admin socket.
        for line in BufReader::new(daemon.child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            daemon.banner.push_str(&line);
            daemon.banner.push('\n');
            match line
                .split_once(' ')
                .map(|(name, value)| (name, value.trim()))
            {
                Some(("public", value)) => {
                    daemon.key = value.trim_start_matches("key").trim().parse().unwrap();
                }
                Some(("listening", value)) => daemon.listeners.push(value.to_owned()),
                Some(("admin", _)) => return daemon,
                _ => {}
            }
        }
        panic!("no daemon: {}", daemon.log());
    }

    /// Returns the program in the given namespace, cgroup and limit.
    fn program(&self) -> Command {
        let mut words = Vec::new();
        if let Some(namespace) = self.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(str::to_owned));
        }
        let mut script = String::new();
        if let Some(files) = self.files {
            script += &format!("ulimit -n {files} && ");
        }
        if let Some(cgroup) = self.cgroup {
            script += &format!("echo $$ > {}/cgroup.procs && ", cgroup.display());
        }
        if !script.is_empty() {
            script += "exec \"$0\" \"$@\"";
            words.extend(["sh".to_owned(), "-c".to_owned(), script]);
        }
        words.push(env!("CARGO_BIN_EXE_pinecone").to_owned());
        let mut command = Command::new(words.remove(0));
        command.args(words);
        command
    }
}

impl Daemon {
    /// Starts a daemon with a free port.
    pub(crate) fn start() -> Self {
        Start::default().run()
    }

    /// Starts a daemon that dials this one.
    pub(crate) fn start_peer(&self) -> Self {
        Start {
            connect: vec![self.address().to_owned()],
            ..Start::default()
        }
        .run()
    }

    /// Returns the first address that it listens on.
    pub(crate) fn address(&self) -> &str {
        &self.listeners[0]
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its memory use.
    pub(crate) fn memory(&self) -> Memory {
        let path = format!("/proc/{}/status", self.process_id());
        let text = std::fs::read_to_string(path).unwrap();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            let kib = line.split_whitespace().nth(1).unwrap();
            kib.parse::<u64>().unwrap() << 10
        };
        Memory {
            rss: field("VmRSS:"),
            peak: field("VmHWM:"),
        }
    }

    pub(crate) fn admin(&self) -> PathBuf {
        admin_path(&self.directory)
    }

    /// Returns the path of its key file.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), || {
            self.log()
                .contains(text)
                .then_some(())
                .ok_or_else(|| self.log())
        });
    }

    /// Sends a request to the admin socket and returns the reply.
    pub(crate) fn ask(&self, request: &Value) -> Value {
        self.try_ask(request).unwrap()
    }

    pub(crate) fn try_ask(&self, request: &Value) -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(self.admin())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(stream, "{request}")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    pub(crate) fn status(&self) -> Value {
        self.ask(&json!({ "request": "status" }))
    }

    /// Returns a counter of the whole node.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let status = self.status();
        let counter = &status["counters"][name];
        counter
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {status}"))
    }

    /// Returns the peering with that key, if it is up.
    pub(crate) fn peer(&self, key: &PublicKey) -> Option<Value> {
        let reply = self.ask(&json!({ "request": "peers" }));
        let peers = reply["peers"].as_array().unwrap();
        let key = key.to_string();
        peers.iter().find(|peer| peer["key"] == key).cloned()
    }

    /// Makes it ping once. Returns the reply, or an error if there was no answer.
    pub(crate) fn ping(&self, key: &PublicKey, timeout: Duration) -> Result<Value, String> {
        let reply = self
            .try_ask(&json!({
                "request": "ping", "key": key.to_string(), "count": 1, "size": 56,
                "interval_ms": 1000, "timeout_ms": timeout.as_millis() as u64,
            }))
            .map_err(|e| e.to_string())?;
        match reply.get("rtt_ms") {
            Some(_) => Ok(reply),
            None => Err(reply.to_string()),
        }
    }

    /// Makes it ping until there is an answer.
    pub(crate) fn wait_for_ping(&self, key: &PublicKey) -> Value {
        wait_until(
            &format!("{} to reach {}", self.key.short(), key.short()),
            || self.ping(key, Duration::from_millis(500)),
        )
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Sends a signal and waits until the daemon has exited.
    pub(crate) fn end(self, signal: rustix::process::Signal) -> (ExitStatus, String) {
        self.signal(signal);
        self.wait_for_end()
    }

    /// Waits until the daemon has exited.
    pub(crate) fn wait_for_end(mut self) -> (ExitStatus, String) {
        let status = wait_until("the daemon to end", || {
            self.child.try_wait().unwrap().ok_or("runs")
        });
        (status, self.log())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails if it has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the program with all its files in `home`.
pub(crate) fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinecone"));
    at_home(&mut command, home);
    command
}

/// Runs the program until it exits.
pub(crate) fn run(home: &Path, arguments: &[&str]) -> Output {
    program(home)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Repeats `attempt` until it succeeds. Panics with its last error after [`PATIENCE`].
pub(crate) fn wait_until<T, E: Display>(what: &str, attempt: impl FnMut() -> Result<T, E>) -> T {
    wait_at_most(PATIENCE, what, attempt)
}

pub(crate) fn wait_at_most<T, E: Display>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(wrong) if start.elapsed() > limit => panic!("waited for {what} in vain: {wrong}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Returns a key that is the same in every run.
pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// Collects what a process writes, line by line.
pub(crate) fn collect(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let collected = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut collected = collected.lock().unwrap();
            collected.push_str(&line);
            collected.push('\n');
        }
    });
    text
}

/// Writes a key file with mode 0600.
pub(crate) fn write_key(path: &Path, seed: u8) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    writeln!(file, "{}", hex::encode([seed; 32])).unwrap();
}

pub(crate) fn at_home(command: &mut Command, home: &Path) {
    command
        .env("HOME", home)
        .env("XDG_STATE_HOME", home.join("state"))
        .env("XDG_RUNTIME_DIR", home)
        .env_remove("RUST_LOG");
}

fn admin_path(directory: &TempDir) -> PathBuf {
    directory.path().join("admin.sock")
}
