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
use super::select::{Ballot, Candidate, is_by_headroom};
use super::state::{KeyState, Probes, Request, Site};
use super::time::Timestamp;

/// What was last seen of all deployments, for every tier and kind of call.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheets {
    sheets: Vec<Sheet>,
    /// By quota: where it is read, as sheet and row.
    readers: Vec<Vec<(u32, u32)>>,
}

#[derive(Clone, Debug, Default)]
struct Sheet {
    reading: Option<Reading>,
    members: Vec<Member>,
    /// What was seen of each, and how long that stands.
    looks: Vec<Look>,
    rows: Vec<Row>,
    /// All rows stand until then, but for those that are marked, and for calls as long as this.
    stands: Row,
    /// Rows that were spoken against since the last look.
    marked: Vec<u32>,
    /// Headroom times weight of those that may be used without a probe, [`CLOSED`] for the others and to fill up the
    /// last [`LANES`]: what most decisions are made from.
    headroom: Vec<f64>,
    /// Whether all members have one order.
    one_order: bool,
}

/// How many are compared at once.
const LANES: usize = 4;

/// Less than any headroom.
const CLOSED: f64 = -1.0;

/// How quotas were read; what was read in another way says nothing.
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
    key: u32,
    quota: u32,
    site: u32,
    weight: f64,
    order: u8,
}

/// How long a look stands.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// [`Timestamp::ZERO`] when the deployment must be looked at each time.
    stale_at: Timestamp,
    /// The longest call that it stands for.
    tokens_left: u64,
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
    /// The key that the request has just failed on.
    failed_key: Option<u32>,
    quotas: &'a [Quota],
    sites: &'a [Site],
    best: Option<Best>,
    /// What opens first of all that is closed.
    first: (Timestamp, Cause),
    /// Deployments whose quota is all that may be in the way.
    open: u32,
    /// Deployments that rest for soft reasons alone, and the one with room that rests shortest.
    soft: u32,
    shortest: Option<(Timestamp, Pick)>,
}

/// The best deployment so far. Lower ranks win, then higher scores, then higher bits.
#[derive(Clone, Copy, Debug)]
struct Best {
    pick: Pick,
    rank: Rank,
    order: u8,
    score: f64,
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
                let mut sheet = Sheet::default();
                let members = tier.deployments.len();
                sheet.marked.reserve_exact(members);
                sheet.headroom.resize(members.next_multiple_of(LANES), CLOSED);
                for &deployment in &tier.deployments {
                    let place = plan.places[deployment.index()];
                    let spec = plan.settings.deployments[deployment.index()];
                    let (key, quota, site) = (place.key, place.quota + offset, place.site);
                    sheets.add_reader(quota as usize, sheet.rows.len() as u32);
                    sheet.add(Member {
                        deployment,
                        key,
                        quota,
                        site,
                        weight: f64::from(spec.weight.max(1)),
                        order: spec.order,
                    });
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
            self.sheets[sheet as usize].mark(row);
        }
    }

    /// Something has changed that any deployment may rest on: all are looked at anew.
    pub(super) fn forget(&mut self) {
        for sheet in &mut self.sheets {
            sheet.reading = None;
        }
    }
}

impl Sheet {
    fn add(&mut self, member: Member) {
        self.one_order = self.members.iter().all(|other| other.order == member.order);
        self.members.push(member);
        self.looks.push(Look::Shut(Timestamp::MAX, Cause::None));
        self.rows.push(Row::STALE);
    }

    /// Something was said against what a row says.
    fn mark(&mut self, row: u32) {
        self.rows[row as usize] = Row::STALE;
        if self.marked.len() < self.members.len() {
            self.marked.push(row);
        } else {
            self.stands = Row::STALE;
        }
    }

    /// Looks wherever the last look does not stand any more for a call of so many tokens, and says whether all stand
    /// now. What rests on cooldowns, or on what failed calls count for, is seen once and not kept.
    fn refresh(&mut self, view: &View<'_>, quotas: &mut [Quota], keys: &[KeyState]) -> bool {
        if self.reading != Some(view.reading) {
            self.reading = Some(view.reading);
            self.rows.fill(Row::STALE);
            self.stands = Row::STALE;
        }
        if self.stands.stands(view) {
            while let Some(row) = self.marked.pop() {
                self.look(row as usize, view, quotas, keys);
            }
        } else {
            self.marked.clear();
            self.stands = Row::FOREVER;
            for index in 0..self.rows.len() {
                if self.rows[index].stands(view) {
                    self.stands = self.stands.and(self.rows[index]);
                } else {
                    self.look(index, view, quotas, keys);
                }
            }
        }
        self.stands.stale_at > view.now
    }

    /// Looks at one deployment.
    fn look(&mut self, index: usize, view: &View<'_>, quotas: &mut [Quota], keys: &[KeyState]) {
        let Member { key, quota, weight, .. } = self.members[index];
        let (quota, key) = (&mut quotas[quota as usize], &keys[key as usize]);
        let look = view.look(quota, key);
        let row = view.keep(&look, quota, key);
        let free = if row.stale_at > view.now { look.headroom() } else { None };
        self.headroom[index] = free.map_or(CLOSED, |headroom| headroom * weight);
        (self.looks[index], self.rows[index]) = (look, row);
        self.stands = self.stands.and(row);
    }

    /// Of deployments that all stand and are used by headroom alone, the one that has most of it. `ballot` is asked for
    /// where several have.
    fn roomiest(&self, failed_key: Option<u32>, ballot: impl FnOnce() -> Ballot) -> Option<DeploymentId> {
        let is_usable = |member: &Member| failed_key.is_none_or(|failed| failed != member.key);
        let rows = || self.headroom.iter().zip(&self.members);
        let mut most = highest(&self.headroom);
        let fits = |most: f64| rows().filter(move |(own, member)| **own == most && is_usable(member));
        let mut tied = fits(most);
        let first = match tied.next() {
            Some((_, first)) => first.deployment,
            // It is the failed key that has most.
            None => {
                let others = rows().filter(|(_, member)| is_usable(member));
                most = others.fold(CLOSED, |most, (own, _)| if *own > most { *own } else { most });
                tied = fits(most);
                tied.next()?.1.deployment
            }
        };
        if most == CLOSED {
            return None;
        }
        let Some((_, second)) = tied.next() else { return Some(first) };
        let ballot = ballot();
        let others = tied.map(|(_, member)| member.deployment);
        [first, second.deployment].into_iter().chain(others).max_by_key(|deployment| ballot.bits(*deployment))
    }
}

/// The highest of all, whose number is a multiple of [`LANES`].
fn highest(values: &[f64]) -> f64 {
    let mut most = [CLOSED; LANES];
    for values in values.as_chunks::<LANES>().0 {
        for (most, value) in most.iter_mut().zip(values) {
            *most = if *value > *most { *value } else { *most };
        }
    }
    most.into_iter().fold(CLOSED, f64::max)
}

impl Row {
    /// One that says nothing.
    const STALE: Self = Self { stale_at: Timestamp::ZERO, tokens_left: 0 };
    const FOREVER: Self = Self { stale_at: Timestamp::MAX, tokens_left: u64::MAX };

    fn stands(&self, view: &View<'_>) -> bool {
        view.now < self.stale_at && u64::from(view.tokens) <= self.tokens_left
    }

    /// As long as both stand.
    fn and(self, other: Self) -> Self {
        Self { stale_at: self.stale_at.min(other.stale_at), tokens_left: self.tokens_left.min(other.tokens_left) }
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
        let (cursor, members) = (self.tiers[plan.owner as usize].cursor, plan.deployments.len() as u32);
        let ballot = || Ballot {
            strategy: knobs.select_strategy,
            decision: draw(settings.seed, STREAM_TIES, request.id.get(), u64::from(request.attempts)),
            cursor,
            members,
            count_errors,
        };
        let reading = Reading { day: rules.day, day_ends: rules.day_ends, count_errors };
        let view = View { now, tokens: request.tokens.input.get(), reading, rules: &rules, knobs };
        let sheet = &mut self.sheets.sheets[tier.index() * ENDPOINTS as usize + offset as usize];
        let all_stand = sheet.refresh(&view, &mut self.quotas, &self.keys);
        debug_assert!(view.agrees(sheet, &mut self.quotas, &self.keys), "a look was kept too long");

        let failed_key = request.failures.key;
        let quick = (all_stand && sheet.one_order && is_by_headroom(knobs.select_strategy))
            .then(|| sheet.roomiest(failed_key, ballot))
            .flatten()
            .map(|deployment| Pick { deployment, probes, panic: None, contested: false });
        let back_until =
            if request.failures.node == Some(node) { request.failures.back_until } else { Timestamp::ZERO };
        if let Some(pick) = quick
            && !cfg!(debug_assertions)
        {
            return Offer::Ready(pick, back_until.max(now));
        }

        let (quotas, sites) = (&self.quotas[..], &self.sites[..]);
        let mut search = Search {
            ballot: ballot(),
            probes,
            failed_key,
            quotas,
            sites,
            best: None,
            first: (Timestamp::MAX, Cause::Dead),
            open: 0,
            soft: 0,
            shortest: None,
        };
        for (index, (member, look)) in sheet.members.iter().zip(&sheet.looks).enumerate() {
            if search.best.is_some_and(|best| best.rank == Rank::Usual && best.order < member.order) {
                break;
            }
            search.consider(index as u32, member, look);
        }
        let found = search.best.map(|best| best.pick).or(search.panic(knobs.panic_fraction));
        debug_assert!(quick.is_none() || quick == found, "the short way leads elsewhere: {quick:?} {found:?}");
        match found {
            Some(pick) => Offer::Ready(pick, back_until.max(now)),
            None => later(search.first.0, search.first.1),
        }
    }
}

impl Search<'_> {
    /// Weighs a deployment, or notes what is in its way.
    fn consider(&mut self, index: u32, member: &Member, look: &Look) {
        let (until, cause) = match *look {
            Look::Free { headroom, probes, contested, tokens_left: _ } => {
                let rank = if self.failed_key == Some(member.key) { Rank::SameKey } else { Rank::Usual };
                self.open += 1;
                return self.weigh(index, member, rank, headroom * member.weight, (probes, contested));
            }
            Look::Full { probes, asks: true, .. } if !probes.any() && !self.probes.any() => {
                let probes = Probes { charging: true, ..probes };
                self.open += 1;
                return self.weigh(index, member, Rank::Learning, 0.0, (probes, true));
            }
            Look::Full { until, cause, .. } => {
                self.open += 1;
                (until, cause)
            }
            Look::Rests { until, cause, probes, soft, room } => {
                self.soft += u32::from(soft);
                if soft && room && self.shortest.is_none_or(|(shortest, _)| until < shortest) {
                    self.shortest = Some((until, self.pick(member, probes, false)));
                }
                (until, cause)
            }
            Look::Shut(until, cause) => (until, cause),
        };
        self.first = self.first.min((until, cause));
    }

    fn weigh(&mut self, index: u32, member: &Member, rank: Rank, headroom: f64, (probes, contested): (Probes, bool)) {
        let &Member { deployment, quota, site, weight, order, .. } = member;
        let (quota, site) = (&self.quotas[quota as usize], &self.sites[site as usize]);
        let score = self.ballot.score(headroom, || Candidate { deployment, index, weight, quota, site });
        let beats = |best: Best| {
            if rank != best.rank {
                return rank < best.rank;
            }
            let wins_tie = || self.ballot.bits(deployment) > self.ballot.bits(best.pick.deployment);
            score > best.score || (score == best.score && wins_tie())
        };
        if self.best.is_none_or(beats) {
            self.best = Some(Best { pick: self.pick(member, probes, contested), rank, order, score });
        }
    }

    fn pick(&self, member: &Member, probes: Probes, contested: bool) -> Pick {
        Pick { deployment: member.deployment, probes: self.probes.with(probes), panic: None, contested }
    }

    /// The choice against soft cooldowns, where no other is left and too few deployments are open.
    fn panic(&self, fraction: f64) -> Option<Pick> {
        let (_, pick) = self.shortest?;
        let share = f64::from(self.open) / f64::from(self.open + self.soft);
        (share < fraction).then_some(Pick { panic: Some((share * 1e6) as u32), ..pick })
    }
}

impl Look {
    /// What a deployment has that may be used.
    fn headroom(&self) -> Option<f64> {
        match *self {
            Look::Free { headroom, .. } => Some(headroom),
            Look::Full { .. } | Look::Rests { .. } | Look::Shut(..) => None,
        }
    }
}

/// How deployments are looked at for one decision.
struct View<'a> {
    now: Timestamp,
    tokens: u32,
    reading: Reading,
    rules: &'a Rules,
    knobs: &'a Knobs,
}

impl View<'_> {
    /// Looks at one deployment.
    fn look(&self, quota: &mut Quota, key: &KeyState) -> Look {
        let View { now, tokens, reading: Reading { count_errors, .. }, rules, knobs } = *self;
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

    /// How long a look stands. When a quota that limits tokens is full, its next room is a matter of the call's length.
    fn keep(&self, look: &Look, quota: &Quota, key: &KeyState) -> Row {
        let asks = self.knobs.rate_charge_errors == ChargeErrors::Learn && quota.has_errors(self.rules);
        let plain = key.cooldown.is_none() && quota.cooldown.is_none() && !asks;
        let (keeps, tokens_left) = match *look {
            Look::Free { tokens_left, .. } => (plain, tokens_left),
            Look::Full { cause, .. } => (plain && (cause == Cause::RateDay || !quota.limits_tokens()), u64::MAX),
            Look::Rests { .. } | Look::Shut(..) => (false, 0),
        };
        Row { stale_at: if keeps { quota.changes_at(self.rules) } else { Timestamp::ZERO }, tokens_left }
    }

    /// Whether fresh looks find what the sheet says.
    fn agrees(&self, sheet: &Sheet, quotas: &mut [Quota], keys: &[KeyState]) -> bool {
        sheet
            .members
            .iter()
            .zip(&sheet.looks)
            .all(|(member, kept)| self.look(&mut quotas[member.quota as usize], &keys[member.key as usize]) == *kept)
    }
}
