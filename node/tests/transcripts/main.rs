//! Recordings of Go nodes, played to a node that takes the place of one of them, over real sockets and in real time.
//! The parts of its frames that the protocol determines must match the recording byte for byte. Frames that contain a
//! time are checked field by field.

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
