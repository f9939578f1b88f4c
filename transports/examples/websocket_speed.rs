//! Measures `WebSocketStream` over loopback TCP with masked messages, and the parts of its framing.
//!
//! ```text
//! cargo run --release -p pinecone-transports --example websocket_speed
//! ```
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use pinecone_transports::websocket::{Decoder, Role, WebSocketStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SIZES: [usize; 5] = [64, 256, 1400, 8192, 16_384];

/// Messages that one write sends.
const BATCH: usize = 16;

const BUFFER: usize = 64 * 1024;

fn main() {
    let seconds = match std::env::args().nth(1) {
        Some(seconds) => seconds.parse().unwrap(),
        None => 2.0,
    };
    let time = match cfg!(debug_assertions) {
        true => Duration::from_millis(10),
        false => Duration::from_secs_f64(seconds),
    };
    println!(
        "bytes  decode MiB/s  client to server MiB/s  server to client MiB/s  TCP alone MiB/s"
    );
    for size in SIZES {
        let decode = decode(size, time);
        let masked = loopback(size, time, Some(Role::Client));
        let plain = loopback(size, time, Some(Role::Server));
        let tcp = loopback(size, time, None);
        println!("{size:5}  {decode:12.0}  {masked:22.0}  {plain:22.0}  {tcp:15.0}");
    }
}

#[allow(clippy::cast_precision_loss)]
fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / f64::from(1 << 20)
}

/// Decodes masked frames in memory, without I/O. The copy that replaces what was decoded counts too.
fn decode(size: usize, time: Duration) -> f64 {
    let mut frame = vec![0x82];
    match size {
        ..126 => frame.push(0x80 | u8::try_from(size).unwrap()),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(size).unwrap().to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    frame.resize(frame.len() + size, 7);
    let wire = frame.repeat((BUFFER / frame.len()).max(1));
    let mut buffer = wire.clone();
    let mut decoder = Decoder::new(Role::Server);
    let began = Instant::now();
    let mut bytes = 0;
    while began.elapsed() < time {
        for _ in 0..64 {
            buffer.copy_from_slice(&wire);
            let decoded = decoder.decode(black_box(&mut buffer));
            assert_eq!(decoded.end, None);
            bytes += decoded.payload;
        }
    }
    rate(bytes, began.elapsed())
}

/// Sends messages of `size` bytes from the side `sender`, or plain bytes, between two threads.
fn loopback(size: usize, time: Duration, sender: Option<Role>) -> f64 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiving = std::thread::spawn(move || {
        runtime().block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            let (mut socket, _) = listener.accept().await.unwrap();
            let receiver = match sender {
                Some(Role::Client) => Role::Server,
                Some(Role::Server) => Role::Client,
                None => {
                    return receive(&mut socket).await;
                }
            };
            receive(&mut WebSocketStream::new(socket, receiver, Vec::new())).await
        })
    });
    let began = Instant::now();
    runtime().block_on(async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        match sender {
            None => send(&mut socket, size, time).await,
            Some(role) => {
                let mut stream = WebSocketStream::new(socket, role, Vec::new());
                send(&mut stream, size, time).await;
            }
        }
    });
    rate(receiving.join().unwrap(), began.elapsed())
}

async fn send<S: AsyncWriteExt + Unpin>(stream: &mut S, size: usize, time: Duration) {
    let message = vec![7; size];
    let began = Instant::now();
    while began.elapsed() < time {
        let mut slices = [IoSlice::new(&message); BATCH];
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let n = stream.write_vectored(slices).await.unwrap();
            IoSlice::advance_slices(&mut slices, n);
        }
    }
    stream.shutdown().await.unwrap();
}

async fn receive<S: AsyncReadExt + Unpin>(stream: &mut S) -> usize {
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return bytes,
            n => bytes += n,
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap()
}
