//! Tests with `tokio-websockets`, whose upgrade and framing share no code with ours.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, CloseCode, Config, Error, Limits, Message, ServerBuilder};

use super::raw::DEADLINE;
use crate::websocket::{
    AcceptOptions, ConnectOptions, MAX_SENT_MESSAGE, Violation, accept, connect,
};

/// The limit of nodes in Go.
fn limits() -> Limits {
    Limits::default().max_payload_len(Some(MAX_SENT_MESSAGE))
}

fn bytes() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i / 7) as u8).collect()
}

#[tokio::test]
async fn its_client_and_our_server() {
    let (io, theirs) = duplex(10_000);
    let server = async {
        let accepted = accept(io, None, &AcceptOptions::default()).await.unwrap();
        let mut stream = accepted.stream;
        let mut received = vec![0; bytes().len()];
        stream.read_exact(&mut received).await.unwrap();
        assert!(received == bytes());
        stream.write_all(&received).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        stream.shutdown().await.unwrap();
    };
    let client = async {
        let (mut client, response) = ClientBuilder::new()
            .uri("ws://example.org/ws")
            .unwrap()
            .limits(limits())
            .config(Config::default().frame_size(5000))
            .connect_on(theirs)
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), 101);
        client.send(Message::ping("hello")).await.unwrap();
        for part in bytes().chunks(12_345) {
            client.send(Message::binary(part.to_vec())).await.unwrap();
        }
        let mut received = Vec::new();
        let mut has_pong = false;
        while received.len() < bytes().len() || !has_pong {
            let message = client.next().await.unwrap().unwrap();
            match message.is_pong() {
                true => has_pong = &message.as_payload()[..] == b"hello",
                false => received.extend_from_slice(message.as_payload()),
            }
        }
        assert!(received == bytes());
        client
            .send(Message::close(Some(CloseCode::GOING_AWAY), "bye"))
            .await
            .unwrap();
        // The answer to the close frame, and then the end.
        while let Some(message) = client.next().await {
            let code = message.unwrap().as_close().map(|(code, _)| code);
            assert_eq!(code, Some(CloseCode::GOING_AWAY));
        }
    };
    timeout(DEADLINE, async { tokio::join!(server, client) })
        .await
        .unwrap();
}

#[tokio::test]
async fn our_client_and_its_server() {
    let (io, theirs) = duplex(10_000);
    let server = async {
        let (request, mut server) = ServerBuilder::new()
            .limits(limits())
            .accept(theirs)
            .await
            .unwrap();
        assert_eq!(request.uri().path(), "/ws");
        assert_eq!(request.headers()["host"], "example.org:81");
        while let Some(message) = server.next().await {
            let message = message.unwrap();
            if message.is_binary() {
                server.send(message).await.unwrap();
            }
        }
    };
    let client = async {
        let options = ConnectOptions {
            path: "/ws".into(),
            ..ConnectOptions::new("example.org:81")
        };
        let stream = connect(io, &options).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let send = async {
            writer.write_all(&bytes()).await.unwrap();
            writer.flush().await.unwrap();
        };
        let mut received = vec![0; bytes().len()];
        let receive = async {
            reader.read_exact(&mut received).await.unwrap();
        };
        tokio::join!(send, receive);
        assert!(received == bytes());
        let mut stream = reader.unsplit(writer);
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    };
    timeout(DEADLINE, async { tokio::join!(server, client) })
        .await
        .unwrap();
}

#[tokio::test]
async fn its_client_sees_why_it_is_closed() {
    let violations = [
        (Message::text("text"), Violation::Text),
        (Message::binary(vec![0; 131_073]), Violation::TooLong),
    ];
    for (message, violation) in violations {
        let (io, theirs) = duplex(1 << 20);
        let server = async {
            let accepted = accept(io, None, &AcceptOptions::default()).await.unwrap();
            let mut stream = accepted.stream;
            stream.read(&mut [0; 64]).await.unwrap_err();
            stream.close(DEADLINE).await;
        };
        let client = async {
            let (mut client, _) = ClientBuilder::new()
                .uri("ws://example.org/")
                .unwrap()
                .config(Config::default().frame_size(usize::MAX))
                .connect_on(theirs)
                .await
                .unwrap();
            client.send(message).await.unwrap();
            let closed = client.next().await.unwrap().unwrap();
            let (code, _) = closed.as_close().unwrap();
            assert_eq!(u16::from(code), violation.close_code());
            while let Some(end) = client.next().await {
                assert!(matches!(end, Err(Error::Io(_) | Error::AlreadyClosed)));
            }
        };
        timeout(DEADLINE, async { tokio::join!(server, client) })
            .await
            .unwrap();
    }
}
