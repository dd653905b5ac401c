//! Looks at every deployment of a tier and picks the best.
//!
//! Between two decisions nothing changes about most deployments, so each has a [`Row`] that keeps what the last look
//! found: until a send leaves its window, its quota is touched, or somebody speaks against it. Rows follow from the
//! state and are no part of it, and looking changes nothing that a snapshot shows: a router that has just been restored
//! and knows no row decides alike.

use super::cooldown::Gate;
use super::decide::{Offer, Pick, later};
use super::draw::draw;
use super::ids::{DeploymentId, TierId};
use super::knobs::{ChargeErrors, Knobs};
use super::output::Cause;
use super::plan::{ENDPOINTS, Plan, endpoint_offset};
use super::quota::{Quota, Room, Rules};
use super::router::{Router, STREAM_TIES};
use super::select::{Ballot, Candidate};
use super::state::{KeyState, Probes, Request, Site};
use super::time::Timestamp;

/// What was last seen of all deployments, for every tier and kind of call.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheets {
    sheets: Vec<Sheet>,
    /// By quota: where it is read, as sheet and row.
    readers: Vec<Vec<(u32, u32)>>,
}

#[derive(Clone, Debug)]
struct Sheet {
    reading: Option<Reading>,
    rows: Vec<Row>,
    members: Vec<Member>,
}

/// How quotas were read; rows that were read in another way say nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    day: u32,
    day_ends: Timestamp,
    count_errors: bool,
}

/// One deployment: the others are arena indexes.
#[derive(Clone, Copy, Debug)]
struct Member {
    deployment: DeploymentId,
    quota: u32,
    site: u32,
    weight: f64,
}

/// What was last seen of a deployment. Small, because a decision reads all rows of a tier.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Until when it stands; [`Timestamp::ZERO`] when the deployment must be looked at each time.
    stale_at: Timestamp,
    /// The longest call that it stands for.
    tokens_left: u64,
    /// When its quota has room again, and what it lacks until then; [`Timestamp::ZERO`] while it has room.
    opens: Timestamp,
    lacks: Cause,
    /// `min(rpm left, tpm left) / limit + rpd left / limit`, times the deployment's weight.
    headroom: f64,
    /// Arena index of the key.
    key: u32,
    order: u8,
}

/// What a look at one deployment finds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    /// It may be used, as a probe where `probes` says so.
    Free {
        headroom: f64,
        tokens_left: u64,
        probes: Probes,
        /// Whether it has room only because failed calls are taken not to count.
        contested: bool,
    },
    /// Its quota is used up until then.
    Full {
        until: Timestamp,
        cause: Cause,
        probes: Probes,
        /// Whether one marked probe may ask if failed calls count.
        asks: bool,
    },
    /// Its key rests until then.
    Rests {
        until: Timestamp,
        cause: Cause,
        probes: Probes,
        /// Whether only soft facts speak against it, and its quota has room.
        soft: bool,
        room: bool,
    },
    /// It is drained, or its quota rests.
    Shut(Timestamp, Cause),
}

/// One search through a tier's deployments.
struct Search<'a> {
    ballot: Ballot,
    /// What any attempt on the tier would probe.
    probes: Probes,
    /// Arena index of the key that the request has just failed on; [`u32::MAX`] for none.
    failed_key: u32,
    members: &'a [Member],
    sites: &'a [Site],
    best: Option<Best>,
    /// Deployments of a higher order are not needed.
    order_end: u8,
    /// Deployments of less headroom cannot win.
    floor: f64,
    /// What opens first of all that is closed.
    first: (Timestamp, Cause),
    /// Deployments that rest for soft reasons alone, and the one with room that rests shortest.
    soft: u32,
    shortest: Option<(Timestamp, Pick)>,
    /// Deployments that rest or are shut for any reason.
    closed: u32,
}

/// The best deployment so far. Lower ranks win, then higher scores, then higher bits.
#[derive(Clone, Copy, Debug)]
struct Best {
    index: u32,
    rank: Rank,
    score: f64,
    /// Known once they had to break a tie.
    bits: Option<u64>,
    probes: Probes,
    contested: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Usual,
    /// The key that the request has just failed on.
    SameKey,
    /// A probe of whether failed calls count.
    Learning,
}

impl Sheets {
    /// Blank sheets for these settings.
    pub(super) fn lay_out(plan: &Plan) -> Self {
        let mut sheets = Self::default();
        for tier in &plan.tiers {
            for offset in 0..ENDPOINTS {
                let mut sheet = Sheet { reading: None, rows: Vec::new(), members: Vec::new() };
                for &deployment in &tier.deployments {
                    let place = plan.places[deployment.index()];
                    let spec = plan.settings.deployments[deployment.index()];
                    let quota = place.quota + offset;
                    sheets.add_reader(quota as usize, sheet.rows.len() as u32);
                    sheet.rows.push(Row::blank(place.key, spec.order));
                    let weight = f64::from(spec.weight.max(1));
                    sheet.members.push(Member { deployment, quota, site: place.site, weight });
                }
                sheets.sheets.push(sheet);
            }
        }
        sheets
    }

    fn add_reader(&mut self, quota: usize, row: u32) {
        if self.readers.len() <= quota {
            self.readers.resize_with(quota + 1, Vec::new);
        }
        self.readers[quota].push((self.sheets.len() as u32, row));
    }

    /// A quota has changed otherwise than by time alone.
    pub(super) fn touch(&mut self, quota: u32) {
        for &(sheet, row) in self.readers.get(quota as usize).map_or(&[][..], Vec::as_slice) {
            self.sheets[sheet as usize].rows[row as usize].stale_at = Timestamp::ZERO;
        }
    }

    /// Something has changed that any deployment may rest on: all are looked at anew.
    pub(super) fn forget(&mut self) {
        for sheet in &mut self.sheets {
            sheet.reading = None;
        }
    }
}

impl Router {
    /// Looks at every deployment of a tier and picks the best.
    pub(super) fn scan(&mut self, now: Timestamp, request: &Request, tier: TierId, probes: Probes) -> Offer {
        let rules = self.rules();
        let offset = endpoint_offset(request.endpoint);
        let plan = &self.plan.tiers[tier.index()];
        let node = plan.node + offset;
        let settings = &*self.plan.settings;
        let knobs = &settings.knobs;
        let count_errors = self.nodes[node as usize].charging.counts(knobs.rate_charge_errors);
        let tokens = request.tokens.input.get();
        let ballot = Ballot {
            strategy: knobs.select_strategy,
            decision: draw(settings.seed, STREAM_TIES, request.id.get(), u64::from(request.attempts)),
            cursor: self.tiers[plan.owner as usize].cursor,
            members: plan.deployments.len() as u32,
            count_errors,
        };
        let Sheet { reading, rows, members } =
            &mut self.sheets.sheets[tier.index() * ENDPOINTS as usize + offset as usize];
        let wanted = Some(Reading { day: rules.day, day_ends: rules.day_ends, count_errors });
        if *reading != wanted {
            *reading = wanted;
            rows.iter_mut().for_each(|row| row.stale_at = Timestamp::ZERO);
        }

        let mut search = Search {
            ballot,
            probes,
            failed_key: request.failures.key.unwrap_or(u32::MAX),
            members,
            sites: &self.sites,
            best: None,
            order_end: u8::MAX,
            floor: f64::NEG_INFINITY,
            first: (Timestamp::MAX, Cause::Dead),
            soft: 0,
            shortest: None,
            closed: 0,
        };
        let mut seen = 0;
        for row in rows.iter_mut() {
            if row.order > search.order_end {
                break;
            }
            let index = seen;
            seen += 1;
            if row.stands(now, tokens) {
                debug_assert!({
                    let quota = &mut self.quotas[members[index as usize].quota as usize];
                    row.agrees(&look(now, tokens, count_errors, quota, &self.keys[row.key as usize], (&rules, knobs)))
                });
                if now < row.opens {
                    search.first = search.first.min((row.opens, row.lacks));
                } else if row.headroom >= search.floor {
                    search.weigh(index, row, &self.quotas);
                }
                continue;
            }
            let quota = &mut self.quotas[members[index as usize].quota as usize];
            let key = &self.keys[row.key as usize];
            let look = look(now, tokens, count_errors, quota, key, (&rules, knobs));
            row.keep(&look, members[index as usize].weight, quota, key, (&rules, knobs));
            search.consider(index, row, &look, &self.quotas);
        }
        let panic = search.panic(seen, knobs.panic_fraction);
        let usual = search.best.map(|Best { index, probes: own, contested, .. }| Pick {
            deployment: members[index as usize].deployment,
            probes: probes.with(own),
            panic: None,
            contested,
        });
        let back_until =
            if request.failures.node == Some(node) { request.failures.back_until } else { Timestamp::ZERO };
        match usual.or(panic) {
            Some(pick) => Offer::Ready(pick, back_until.max(now)),
            None => later(search.first.0, search.first.1),
        }
    }
}

impl Search<'_> {
    /// Weighs a deployment that may be used.
    fn weigh(&mut self, index: u32, row: &Row, quotas: &[Quota]) {
        let rank = if row.key == self.failed_key { Rank::SameKey } else { Rank::Usual };
        self.weigh_as(index, row, rank, (Probes::default(), false), quotas);
    }

    fn weigh_as(&mut self, index: u32, row: &Row, rank: Rank, (probes, contested): (Probes, bool), quotas: &[Quota]) {
        let headroom = if rank == Rank::Learning { 0.0 } else { row.headroom };
        let score = self.ballot.score(headroom, || self.candidate(index, quotas));
        let mut bits = None;
        if let Some(best) = &mut self.best {
            if rank > best.rank || (rank == best.rank && score < best.score) {
                return;
            }
            if rank == best.rank && score == best.score {
                let bits_of = |index: u32| self.ballot.bits(self.members[index as usize].deployment);
                let own = bits_of(index);
                if own <= *best.bits.get_or_insert_with(|| bits_of(best.index)) {
                    return;
                }
                bits = Some(own);
            }
        }
        self.best = Some(Best { index, rank, score, bits, probes, contested });
        if rank == Rank::Usual {
            self.order_end = row.order;
            if self.ballot.by_headroom() {
                self.floor = score;
            }
        }
    }

    fn candidate<'b>(&'b self, index: u32, quotas: &'b [Quota]) -> Candidate<'b> {
        let Member { deployment, quota, site, weight } = self.members[index as usize];
        Candidate { deployment, index, weight, quota: &quotas[quota as usize], site: &self.sites[site as usize] }
    }

    /// Weighs a deployment, or notes what is in its way.
    fn consider(&mut self, index: u32, row: &Row, look: &Look, quotas: &[Quota]) {
        let (until, cause) = match *look {
            Look::Free { probes, contested, .. } => {
                let rank = if row.key == self.failed_key { Rank::SameKey } else { Rank::Usual };
                return self.weigh_as(index, row, rank, (probes, contested), quotas);
            }
            Look::Full { probes, asks: true, .. } if !probes.any() && !self.probes.any() => {
                let probes = Probes { charging: true, ..probes };
                return self.weigh_as(index, row, Rank::Learning, (probes, true), quotas);
            }
            Look::Full { until, cause, .. } => (until, cause),
            Look::Rests { until, cause, probes, soft, room } => {
                self.closed += 1;
                self.soft += u32::from(soft);
                if soft && room && self.shortest.is_none_or(|(shortest, _)| until < shortest) {
                    let (deployment, probes) = (self.members[index as usize].deployment, self.probes.with(probes));
                    self.shortest = Some((until, Pick { deployment, probes, panic: None, contested: false }));
                }
                (until, cause)
            }
            Look::Shut(until, cause) => {
                self.closed += 1;
                (until, cause)
            }
        };
        self.first = self.first.min((until, cause));
    }

    /// The choice against soft cooldowns, where no other is left and too few of the `seen` deployments are open.
    fn panic(&self, seen: u32, fraction: f64) -> Option<Pick> {
        if self.best.is_some_and(|best| best.rank <= Rank::SameKey) {
            return None;
        }
        let (_, pick) = self.shortest?;
        let open = seen - self.closed;
        let share = f64::from(open) / f64::from(open + self.soft);
        (share < fraction).then_some(Pick { panic: Some((share * 1e6) as u32), ..pick })
    }
}

impl Row {
    fn blank(key: u32, order: u8) -> Self {
        let (stale_at, opens) = (Timestamp::ZERO, Timestamp::ZERO);
        Self { stale_at, tokens_left: 0, opens, lacks: Cause::None, headroom: 0.0, key, order }
    }

    /// Whether what was seen stands for a call of so many tokens.
    fn stands(&self, now: Timestamp, tokens: u32) -> bool {
        now < self.stale_at && u64::from(tokens) <= self.tokens_left
    }

    /// Keeps what a look found. What rests on the call's length, on a cooldown, or on what failed calls count for is
    /// seen once and not kept.
    fn keep(&mut self, look: &Look, weight: f64, quota: &Quota, key: &KeyState, (rules, knobs): (&Rules, &Knobs)) {
        let asks = knobs.rate_charge_errors == ChargeErrors::Learn && quota.has_errors(rules);
        let plain = key.cooldown.is_none() && quota.cooldown.is_none() && !asks;
        let keeps = match *look {
            Look::Free { headroom, tokens_left, .. } => {
                (self.headroom, self.tokens_left, self.opens) = (headroom * weight, tokens_left, Timestamp::ZERO);
                plain
            }
            Look::Full { until, cause, .. } => {
                (self.opens, self.lacks, self.tokens_left) = (until, cause, u64::MAX);
                plain && (cause == Cause::RateDay || !quota.limits_tokens())
            }
            Look::Rests { .. } | Look::Shut(..) => false,
        };
        self.stale_at = if keeps { quota.changes_at(rules) } else { Timestamp::ZERO };
    }

    /// Whether a fresh look finds what was kept.
    fn agrees(&self, look: &Look) -> bool {
        match *look {
            Look::Free { tokens_left, probes, contested, headroom: _ } => {
                self.opens == Timestamp::ZERO && self.tokens_left == tokens_left && !probes.any() && !contested
            }
            Look::Full { until, cause, probes, asks } => {
                (self.opens, self.lacks) == (until, cause) && !probes.any() && !asks
            }
            Look::Rests { .. } | Look::Shut(..) => false,
        }
    }
}

/// Looks at one deployment.
fn look(
    now: Timestamp,
    tokens: u32,
    count_errors: bool,
    quota: &mut Quota,
    key: &KeyState,
    (rules, knobs): (&Rules, &Knobs),
) -> Look {
    let mut probes = Probes::default();
    if key.drained > now {
        return Look::Shut(key.drained, Cause::Operator);
    }
    match quota.cooldown.gate(now, knobs.probe_concurrent) {
        Gate::Open => {}
        Gate::Probe => probes.quota = true,
        Gate::Closed(until, cause) => return Look::Shut(until, cause),
    }
    let room = quota.room(now, tokens, count_errors, rules);
    match key.cooldown.gate(now, knobs.probe_concurrent) {
        Gate::Open => {}
        Gate::Probe => probes.key = true,
        Gate::Closed(until, cause) => {
            let room = matches!(room, Room::Free { .. });
            return Look::Rests { until, cause, probes, soft: key.cooldown.is_soft(), room };
        }
    }
    let learns = knobs.rate_charge_errors == ChargeErrors::Learn;
    match room {
        Room::Free { headroom, tokens_left } => {
            let contested = learns && !count_errors && quota.is_contested(rules);
            Look::Free { headroom, tokens_left, probes, contested }
        }
        Room::Full { until, cause, contested, count: _ } => {
            Look::Full { until, cause, probes, asks: learns && contested && quota.next_learning <= now }
        }
    }
}
