//! Networks of this implementation and the deployed one.
//!
//! `PINECONE_GO_NODE` names the binary of a Go node. It is started with the arguments in
//! `PINECONE_GO_NODE_ARGS`, split at blanks, `{listen}` and `{connect}` replaced by the address
//! that it is to listen on and the one that it is to dial; without the variable with
//! `-listen {listen} -connect {connect}`.

use pinecone_testing::{Need, skip};
use std::env;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::daemon::{Daemon, Start, collect, wait_at_most};

struct GoNode(Child);

impl Drop for GoNode {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_go_node_between_two_of_ours() {
    let Some(program) = env::var_os("PINECONE_GO_NODE") else {
        skip(Need::GoNode, "PINECONE_GO_NODE is not set");
        return;
    };
    let arguments = env::var("PINECONE_GO_NODE_ARGS")
        .unwrap_or_else(|_| "-listen {listen} -connect {connect}".to_owned());
    // A port that is free now, as the Go node does not print its port.
    let listen = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let listen = listen.to_string();

    // The Go node dials one node of this implementation, and the other one dials the Go node.
    let left = Daemon::start();
    let place = |argument: &str| {
        let argument = argument.replace("{listen}", &listen);
        argument.replace("{connect}", left.address())
    };
    let mut child = Command::new(&program)
        .args(arguments.split_whitespace().map(place))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = collect(child.stderr.take().unwrap());
    let _go = GoNode(child);
    let right = Start {
        connect: vec![listen],
        ..Start::default()
    }
    .run();
    for (from, to) in [(&left, &right), (&right, &left)] {
        wait_at_most(
            Duration::from_secs(40),
            "a ping through the Go node",
            || {
                let answer = from.ping(&to.key, Duration::from_millis(500));
                answer.map_err(|e| format!("{e}; the Go node said: {}", log.lock().unwrap()))
            },
        );
    }
    assert!(left.peer(&right.key).is_none(), "there is no other way");
    assert_eq!(left.status()["root"], right.status()["root"]);
}
