//! The adversaries of a scenario.

use super::world::World;
use crate::adversary::{Adversary, Mischief};
use crate::error::Error;
use crate::scenario::{AdversarySettings, MischiefSettings, millionths};

/// Turns a node into the adversary with this number.
pub(super) fn begin(world: &mut World<'_>, number: usize) -> Result<(), Error> {
    let scenario = world.scenario;
    let Some(settings) = scenario.adversary.get(number) else {
        return Ok(());
    };
    set_adversary(world, settings).map_err(|wrong| {
        let key = format!("adversary.{number}");
        scenario.source.error(&key, wrong)
    })
}

fn set_adversary(world: &mut World<'_>, settings: &AdversarySettings) -> Result<(), String> {
    let node = world.resolve(&settings.node)?;
    let mischief = match &settings.mischief {
        MischiefSettings::Drop { frames, rate, peer } => Mischief::Drop {
            kinds: frames.iter().map(|&kind| kind.into()).collect(),
            rate: millionths(*rate),
            peer: match peer {
                Some(peer) => Some(world.resolve(peer)?),
                None => None,
            },
        },
        MischiefSettings::Flood { every, count } => Mischief::Flood {
            every: *every,
            count: *count,
        },
        MischiefSettings::Replay { every, times } => Mischief::Replay {
            every: *every,
            times: *times,
        },
        MischiefSettings::Deny { every } => Mischief::Deny { every: *every },
        MischiefSettings::Claim {} => Mischief::Claim,
    };
    world.network.set_adversary(node, Adversary::new(mischief));
    Ok(())
}
