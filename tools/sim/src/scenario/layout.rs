//! The layout of a scenario's network, and checks of the nodes and links that a scenario names.

use std::collections::BTreeSet;

use super::adversary::MischiefSettings;
use super::event::{Action, NodeRef};
use super::settings::Scenario;
use crate::error::Error;
use crate::ids::NodeId;
use crate::random::{Random, Stream};
use crate::time::{Nanos, SECOND};
use crate::topology::{Layout, MAX_LINKS, MAX_NODES, Topology};

/// The state of the network before an event, as far as it is known without running it.
struct Known<'a> {
    layout: &'a Layout,
    nodes: u64,
    links: u64,
    linked: BTreeSet<(NodeId, NodeId)>,
    /// Set if links have changed at random, so that `linked` is incomplete.
    shuffled: bool,
    nodes_down: bool,
    links_down: bool,
}

impl Scenario {
    /// Lays out the network, and checks the nodes and links that events and adversaries name.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Topology`].
    pub fn lay_out(&self) -> Result<Layout, Error> {
        let mut random = Random::new(self.seed, Stream::Topology);
        let layout = self
            .topology
            .lay_out(&self.directory, &mut random)
            .map_err(|error| match error {
                Error::Read { path, source } => {
                    let wrong = format!(
                        "cannot read {}: {source}: write the path of a topology file, from the \
                         directory of this file",
                        path.display()
                    );
                    self.source.error("topology.path", wrong)
                }
                error => error,
            })?
            .repeated(self.network.copies);
        self.check_layout(&layout)?;
        Ok(layout)
    }

    fn check_layout(&self, layout: &Layout) -> Result<(), Error> {
        let sorted = |&(a, b): &(NodeId, NodeId)| (a.min(b), a.max(b));
        let mut known = Known {
            layout,
            nodes: layout.nodes.into(),
            links: layout.links.len() as u64,
            linked: layout.links.iter().map(sorted).collect(),
            shuffled: false,
            nodes_down: false,
            links_down: false,
        };
        if let Some(pings) = &self.pings
            && pings.min_distance >= layout.nodes
        {
            let wrong = format!(
                "{} nodes are never that many links apart: write less",
                layout.nodes
            );
            return Err(self.source.error("pings.min-distance", wrong));
        }
        let mut order: Vec<_> = self.event.iter().enumerate().collect();
        order.sort_by_key(|(_, event)| event.at);
        let mut adversaries: Vec<_> = self.adversary.iter().enumerate().collect();
        adversaries.sort_by_key(|(_, adversary)| adversary.at);
        let mut adversaries = adversaries.into_iter().peekable();
        let last = (Nanos::MAX, None);
        let events = order
            .into_iter()
            .map(|(number, event)| (event.at, Some((number, &event.action))));
        for (at, event) in events.chain([last]) {
            // An adversary precedes an event at the same time.
            while let Some((number, adversary)) = adversaries.next_if(|(_, next)| next.at <= at) {
                let peer = match &adversary.mischief {
                    MischiefSettings::Drop { peer, .. } => peer.as_ref(),
                    _ => None,
                };
                known
                    .check_adversary(&adversary.node, peer)
                    .map_err(|(name, wrong)| {
                        self.source
                            .error(&format!("adversary.{number}.{name}"), wrong)
                    })?;
            }
            if let Some((number, action)) = event {
                self.check_event(&mut known, action)
                    .map_err(|(name, wrong)| {
                        self.source.error(&format!("event.{number}.{name}"), wrong)
                    })?;
            }
        }
        Ok(())
    }

    fn check_event(&self, known: &mut Known<'_>, action: &Action) -> Result<(), Wrong> {
        match *action {
            Action::AddNodes { count, links } => {
                if u64::from(links) > known.nodes {
                    return Err((
                        "links",
                        format!("there are {} nodes: write no more", known.nodes),
                    ));
                }
                known.nodes += u64::from(count);
                known.links += u64::from(count) * u64::from(links);
                if known.nodes > MAX_NODES {
                    return Err((
                        "count",
                        format!("write no more than makes {MAX_NODES} nodes"),
                    ));
                }
            }
            Action::RemoveNodes { count, .. } => {
                if count as u64 > known.nodes {
                    return Err((
                        "count",
                        format!("there are {} nodes: write no more", known.nodes),
                    ));
                }
                known.nodes_down = true;
            }
            Action::Stop { ref node, .. } => {
                known.find("node", node)?;
                known.nodes_down = true;
            }
            Action::Start { ref node } => {
                known.find("node", node)?;
                if !known.nodes_down {
                    let wrong = "no node is down then: write an event before it that stops one";
                    return Err(("do", wrong.into()));
                }
            }
            Action::Link { ref a, ref b } => {
                let (a, b) = (known.find("a", a)?, known.find("b", b)?);
                known.links += 1;
                match (a, b) {
                    (Some(a), Some(b)) if !known.linked.insert((a.min(b), a.max(b))) => {
                        let wrong = format!(
                            "nodes {} and {} are linked already: write another node, or `heal` \
                             if their link is down",
                            known.layout.name(a),
                            known.layout.name(b)
                        );
                        return Err(("b", wrong));
                    }
                    (Some(_), Some(_)) => {}
                    _ => known.shuffled = true,
                }
            }
            Action::Cut { ref a, ref b, .. } => {
                known.check_linked(("a", a), ("b", b))?;
                known.links_down = true;
            }
            Action::Heal { ref a, ref b } => {
                known.check_linked(("a", a), ("b", b))?;
                known.check_links_down()?;
            }
            Action::Merge {} => known.check_links_down()?,
            Action::CutLinks { count, .. } => {
                if count as u64 > known.links && !known.shuffled {
                    return Err((
                        "count",
                        format!("there are {} links: write no more", known.links),
                    ));
                }
                known.links_down = true;
            }
            Action::Partition { share, .. } => {
                let first = share * known.nodes as f64;
                if first < 1.0 || known.nodes as f64 - first < 1.0 {
                    let wrong = format!(
                        "one side would have none of the {} nodes: write a share nearer to 0.5",
                        known.nodes
                    );
                    return Err(("share", wrong));
                }
                known.links_down = true;
            }
            Action::Join { links } => {
                if self.network.copies < 2 {
                    let wrong = "there is only one network: write `network.copies = 2`";
                    return Err(("do", wrong.into()));
                }
                known.links += u64::from(links) * u64::from(self.network.copies - 1);
                known.shuffled = true;
            }
            Action::KillRoot { .. } | Action::FlapRoot { .. } => known.nodes_down = true,
            Action::Churn { rate, lasting, .. } => {
                let minutes = lasting as f64 / (60 * SECOND) as f64;
                if known.nodes as f64 * rate * minutes < 1.0 {
                    let wrong = format!(
                        "none of {} nodes would go in that time: write a higher rate, or a longer \
                         `for`",
                        known.nodes
                    );
                    return Err(("rate", wrong));
                }
                known.nodes_down = true;
            }
            Action::Move { .. } => {
                if !matches!(self.topology, Topology::RandomGeometric { .. })
                    || self.network.copies != 1
                {
                    let wrong = "only nodes of a single random-geometric topology can move: write \
                                 `topology = { kind = \"random-geometric\", … }`, without \
                                 `network.copies`";
                    return Err(("do", wrong.into()));
                }
                known.shuffled = true;
                known.links_down = true;
            }
            Action::SetLinks { .. } => {}
        }
        match known.links <= MAX_LINKS {
            true => Ok(()),
            false => Err((
                "links",
                format!("write no more than makes {MAX_LINKS} links"),
            )),
        }
    }
}

/// The key of a mistake, and its description.
type Wrong = (&'static str, String);

impl Known<'_> {
    /// Returns the node with a number or name, or nothing if it depends on the run.
    fn find(&self, key: &'static str, node: &NodeRef) -> Result<Option<NodeId>, Wrong> {
        match node {
            NodeRef::Number(number) if u64::from(*number) < self.nodes => Ok(Some(*number)),
            NodeRef::Number(number) => Err((
                key,
                format!(
                    "there is no node {number} then: write a number from 0 to {}",
                    self.nodes - 1
                ),
            )),
            NodeRef::Name(_) if node.is_chosen() => Ok(None),
            NodeRef::Name(name) => {
                let at = self.layout.names.iter().position(|known| known == name);
                at.map(|at| Some(at as NodeId)).ok_or_else(|| {
                    let similar = crate::expect::similar(name, &self.layout.names);
                    let hint = match similar {
                        Some(other) => format!("write `{other}`"),
                        None if self.layout.names.is_empty() => {
                            "write its number, \"root\", \"hub\" or \"random\"".into()
                        }
                        None => "write a name from the topology file".into(),
                    };
                    (key, format!("there is no node `{name}`: {hint}"))
                })
            }
        }
    }

    fn check_linked(
        &self,
        (a_key, a): (&'static str, &NodeRef),
        (b_key, b): (&'static str, &NodeRef),
    ) -> Result<(), Wrong> {
        if let (Some(a), Some(b)) = (self.find(a_key, a)?, self.find(b_key, b)?)
            && !self.may_be_linked(a, b)
        {
            let wrong = format!(
                "nodes {} and {} are not linked: write two that are",
                self.layout.name(a),
                self.layout.name(b)
            );
            return Err((b_key, wrong));
        }
        Ok(())
    }

    fn may_be_linked(&self, a: NodeId, b: NodeId) -> bool {
        let added = |node| node >= self.layout.nodes;
        a != b
            && (self.shuffled
                || added(a)
                || added(b)
                || self.linked.contains(&(a.min(b), a.max(b))))
    }

    fn check_links_down(&self) -> Result<(), Wrong> {
        match self.links_down {
            true => Ok(()),
            false => Err((
                "do",
                "no link is down then: write an event before it that cuts some".into(),
            )),
        }
    }

    fn check_adversary(&self, node: &NodeRef, peer: Option<&NodeRef>) -> Result<(), Wrong> {
        let node = self.find("node", node)?;
        let peer = peer.map(|peer| self.find("peer", peer)).transpose()?;
        if let (Some(node), Some(Some(peer))) = (node, peer)
            && !self.may_be_linked(node, peer)
        {
            let wrong = format!(
                "node {} is not a peer of node {}: write one of its peers",
                self.layout.name(peer),
                self.layout.name(node)
            );
            return Err(("peer", wrong));
        }
        Ok(())
    }
}
