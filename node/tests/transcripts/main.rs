//! Recordings of Go nodes, played to a node of ours that stands in for one of them, over real
//! sockets and in real time. What the protocol fixes must come out of ours as it came out of
//! theirs, byte for byte; what carries a time of its own is checked field by field.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod compare;
mod recording;
mod replay;

use recording::Recording;

async fn in_place_of_each(scenario: &str) {
    let recording = Recording::read(scenario);
    let mut replays = tokio::task::JoinSet::new();
    for name in recording.nodes() {
        let recording = recording.clone();
        replays.spawn(async move { replay::in_place_of(&recording, &name).await });
    }
    while let Some(result) = replays.join_next().await {
        result.unwrap();
    }
}

#[tokio::test]
async fn two() {
    in_place_of_each("two").await;
}

#[tokio::test]
async fn line3() {
    in_place_of_each("line3").await;
}

#[tokio::test]
async fn parentloss() {
    in_place_of_each("parentloss").await;
}

#[tokio::test]
async fn echo() {
    in_place_of_each("echo").await;
}
