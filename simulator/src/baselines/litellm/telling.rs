//! What clients are told when nothing helped: status, headers, and the error text or its size.

use stormproof_router::core::{
    Cause, Duration, Finished, Foreign, ModelId, Outcome, TierCause, Timestamp, Usd, Verdict,
};

use super::bench::Cooldown;
use super::call::{Hop, targets};
use super::failure::{Failure, Kind, Mapping, Origin, failure_of};
use super::graph::Slot;
use super::router::LiteLlm;
use super::text::{self, Entry, Size, Text};

impl LiteLlm {
    /// The whole error text with which a request for `model` would be refused at `now`, router-wide cooldown list and
    /// all; empty for a model that does not exist. Quotations of earlier lists stand as their length.
    pub fn no_deployments_text(&self, now: Timestamp, model: ModelId) -> String {
        self.no_deployments(now, model)
    }

    /// Deployments on the bench at `now`, in the order of the list, with the end of their time.
    pub fn cooling(&self, now: Timestamp) -> impl Iterator<Item = (&str, Timestamp)> {
        let slots = self.graph.slots.iter().zip(&self.state.bench);
        slots.filter_map(move |(slot, bench)| Some((slot.id.as_str(), bench.cooldown(now)?.until)))
    }

    /// The exception that a group raises in the end: its own, with what became of the fallbacks appended.
    pub(super) fn raised(&self, hop: &Hop) -> Option<Failure> {
        let rules = self.rules();
        let raised = hop.raised?;
        if raised.kind == Kind::NoDeployments {
            // This exception has no message attribute to append to.
            return Some(raised);
        }
        let group = &self.graph.groups[hop.group.index()];
        let early = rules.quotes_cooldowns;
        let mut text = raised.text;
        if early {
            let list = targets(group, raised.kind, &self.state.options, rules);
            let names = list.map(|list| list.iter().map(|target| self.graph.groups[target.index()].name.as_str()));
            text = text.plus(text::looked_at(&group.name, names));
        }
        if let Some((target, failure)) = &hop.fallback_failure {
            let target = &self.graph.groups[target.index()].name;
            let quoted = failure.text.cut(rules.appended_max);
            text = text.plus(text::also_failed(&group.name, target, &quoted, early));
        }
        Some(Failure {
            text,
            mentions_no_deployments: hop.fallback_failure.is_some_and(|(_, failure)| failure.mentions_no_deployments),
            ..raised
        })
    }

    /// Closes a call whose every group has failed.
    pub(super) fn refuse(&mut self, index: u32, now: Timestamp) {
        let call = self.call(index);
        let Some(hop) = call.hops.first() else { return };
        let Some(raised) = self.raised(hop) else { return };
        let group = hop.group;
        let out = raised.mentions_no_deployments;
        let told = self.rules().tells_retry_after && raised.kind == Kind::NoDeployments;
        let verdict = Verdict {
            retry_after: told.then(|| self.told_cooldown(now, group)),
            causes: if out { self.causes(now, group) } else { Box::default() },
            foreign: Some(Foreign { error_in_stream: false, text_bytes: raised.text.bytes }),
            ..Verdict::new(if out { Outcome::Refused } else { Outcome::Failed }, raised.client_status())
        };
        self.close(index, verdict);
    }

    /// What is wrong with the group that was asked for.
    fn causes(&self, now: Timestamp, group: ModelId) -> Box<[TierCause]> {
        let Some(tier) = self.graph.groups[group.index()].tier else { return Box::default() };
        let slots = self.graph.slots_of(group);
        let total = slots.len() as u32;
        let cooling: Vec<&Cooldown> = slots.filter_map(|slot| self.state.bench[slot].cooldown(now)).collect();
        let first = cooling.iter().min_by_key(|cooldown| cooldown.until);
        Box::new([TierCause {
            tier,
            usable: total - cooling.len() as u32,
            total,
            cause: first.map_or(Cause::None, |cooldown| cooldown.cause),
            until: first.map(|cooldown| cooldown.until),
        }])
    }

    /// What an attempt cost.
    pub(super) fn cost(&self, slot: Slot, finished: &Finished, answered: bool) -> Usd {
        let deployment = self.state.settings.deployments[self.graph.slots[slot].deployment.index()];
        let price = &self.state.settings.tiers[deployment.tier.index()].price;
        price.cost(finished.usage.unwrap_or_default(), answered)
    }

    /// "No deployments available" for `group`, written out or measured.
    pub(super) fn no_deployments<T: Text>(&self, now: Timestamp, group: ModelId) -> T {
        let Some(known) = self.graph.groups.get(group.index()) else { return T::default() };
        let list: T = self.cooldown_list(now);
        text::no_deployments(&known.name, self.told_cooldown(now, group), &list, self.rules().quotes_cooldowns)
    }

    /// The shortest configured cooldown in the group, which is what clients are told: not the time that is left.
    fn told_cooldown(&self, now: Timestamp, group: ModelId) -> Duration {
        let cooling = self.graph.slots_of(group).filter_map(|slot| self.state.bench[slot].cooldown(now));
        cooling.map(|cooldown| cooldown.cooldown_time).min().unwrap_or(self.state.options.cooldown_time.0)
    }

    /// The list of all that is cooling, in whatever group.
    fn cooldown_list<T: Text>(&self, now: Timestamp) -> T {
        let mut list = T::default();
        for (slot, bench) in self.state.bench.iter().enumerate() {
            let Some(cooldown) = bench.cooldown(now) else { continue };
            if !list.is_blank() {
                list.push(", ");
            }
            list.push_entry(&cooldown.size, || self.entry(slot, cooldown));
        }
        list
    }

    pub(super) fn entry<'a>(&'a self, slot: Slot, cooldown: &Cooldown) -> Entry<'a> {
        let deployed = &self.graph.slots[slot];
        let wall = (self.state.epoch + cooldown.since.since(Timestamp::ZERO)).as_nanos();
        Entry {
            id: &deployed.id,
            received: cooldown.received,
            provider: &self.state.settings.providers[deployed.provider.index()].name,
            openai_like: deployed.openai_like,
            status: cooldown.status,
            timestamp: (wall / 1_000_000_000) as f64 + (wall % 1_000_000_000) as f64 / 1e9,
            cooldown_time: cooldown.cooldown_time,
            quoted: self.rules().quotes_cooldowns,
        }
    }

    /// Size of a provider's error as clients are shown it. There are few of them: each is measured once.
    pub(super) fn provider_error(&mut self, origin: Origin, openai_like: bool) -> Size {
        if let Some((_, size)) = self.measured.iter().find(|(known, _)| *known == origin) {
            return *size;
        }
        let provider = &self.state.settings.providers[origin.provider.index()].name;
        let size = text::provider_error(origin, provider, openai_like);
        self.measured.push((origin, size));
        size
    }

    /// Size of the error event in a stream, which is mapped even where the rules see the raw error.
    pub(super) fn stream_error(&mut self, finished: &Finished, mapping: Mapping) -> Size {
        match failure_of(finished, Mapping { raw: false, ..mapping }) {
            Some((_, origin)) => self.provider_error(origin, mapping.openai_like),
            None => Size::EMPTY,
        }
    }
}
