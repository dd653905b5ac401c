//! Looks at every deployment of a tier and picks the best.
//!
//! Between two decisions nothing changes about most deployments, so each has a [`Row`] that keeps what the last look
//! found: until a send leaves its window, its quota is touched, or somebody speaks against it. Rows follow from the
//! state and are no part of it, and looking changes nothing that a snapshot shows: a router that has just been restored
//! and knows no row decides alike.

use std::collections::VecDeque;

use super::cooldown::Gate;
use super::decide::{Offer, Pick, later};
use super::draw::{Source, drawn};
use super::ids::{DeploymentId, TierId};
use super::knobs::{ChargeErrors, Knobs};
use super::output::Cause;
use super::plan::{ENDPOINTS, Plan, endpoint_offset};
use super::quota::{Quota, Room, Rules};
use super::router::{Router, STREAM_TIES};
use super::select::{Ballot, Candidate, is_by_headroom};
use super::state::{KeyState, Probes, Request, Site};
use super::time::{Duration, Timestamp};
use super::top::{CLOSED, Top};

/// What was last seen of all deployments, for every tier and kind of call.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheets {
    sheets: Vec<Sheet>,
    /// Where each quota and each key is read.
    quota_readers: Readers,
    key_readers: Readers,
    /// What chooses between deployments that are equally good.
    lots: Source,
}

/// By arena index: sheets and rows.
#[derive(Clone, Debug, Default)]
struct Readers(Vec<Vec<(u32, u32)>>);

#[derive(Clone, Debug, Default)]
struct Sheet {
    rows: Vec<Row>,
    /// All looks stand until then, but for those that are marked, and for calls as long as this.
    stands: Term,
    /// Rows that were spoken against since the last look.
    marked: Vec<u32>,
    /// When sends leave their windows, and whose; in order, for all windows are of one length.
    leaving: VecDeque<(Timestamp, u32)>,
    /// Headroom times weight of those that may be used, [`CLOSED`] for the others.
    headroom: Vec<f64>,
    /// What most decisions are made from.
    top: Top,
    /// Whether headroom alone tells rows apart: it is what counts, and all have one order and a key of their own.
    is_plain: bool,
    /// The equals of one search.
    equals: Vec<(usize, Pick)>,
}

/// One deployment, what was last seen of it, and how long that stands.
#[derive(Clone, Copy, Debug)]
struct Row {
    member: Member,
    /// Whether its quota's room is all that there is to ask.
    is_plain: bool,
    look: Look,
    stands: Term,
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

/// How long a look stands, until somebody speaks against it or a send leaves the window.
#[derive(Clone, Copy, Debug, Default)]
struct Term {
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
    /// All that are as good as the best.
    equals: &'a mut Vec<(usize, Pick)>,
    /// What opens first of all that is closed.
    first: (Timestamp, Cause),
    /// Deployments whose quota is all that may be in the way.
    open: u32,
    /// Deployments that rest for soft reasons alone, and the one with room that rests shortest.
    soft: u32,
    shortest: Option<(Timestamp, Pick)>,
}

/// How good the best deployment so far is. Lower ranks win, then higher scores.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Best {
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
    /// Blank sheets for these settings; `quotas` and the length of their windows say when sends will leave.
    pub(super) fn lay_out(plan: &Plan, quotas: &[Quota], window: Duration) -> Self {
        let mut sheets = Self { lots: Source::of(plan.settings.seed, STREAM_TIES), ..Self::default() };
        for tier in &plan.tiers {
            for offset in 0..ENDPOINTS {
                let mut sheet =
                    Sheet { is_plain: is_by_headroom(plan.settings.knobs.select_strategy), ..Sheet::default() };
                sheet.marked.reserve_exact(tier.deployments.len());
                sheet.equals.reserve_exact(tier.deployments.len());
                for &deployment in &tier.deployments {
                    let place = plan.places[deployment.index()];
                    let spec = plan.settings.deployments[deployment.index()];
                    let (key, quota, site) = (place.key, place.quota + offset, place.site);
                    let place = (sheets.sheets.len() as u32, sheet.rows.len() as u32);
                    sheets.quota_readers.add(quota, place);
                    sheets.key_readers.add(key, place);
                    sheet.leaving.extend(quotas[quota as usize].leaving(window).map(|at| (at, place.1)));
                    sheet.add(Member {
                        deployment,
                        key,
                        quota,
                        site,
                        weight: f64::from(spec.weight.max(1)),
                        order: spec.order,
                    });
                }
                sheet.leaving.make_contiguous().sort_unstable();
                sheets.sheets.push(sheet);
            }
        }
        sheets
    }

    /// The bits that choose between deployments which are equally good for a request.
    fn lot(&self, request: &Request) -> u64 {
        self.lots.draw(request.id.get(), request.attempts.into())
    }

    /// A key's row in a sheet.
    fn row_of(&self, key: u32, sheet: usize) -> Option<usize> {
        self.key_readers.of(key).iter().find(|(reader, _)| *reader as usize == sheet).map(|(_, row)| *row as usize)
    }

    /// A call was sent on a quota, whose window it leaves at `leaves`.
    pub(super) fn sent(&mut self, now: Timestamp, quota: u32, leaves: Timestamp) {
        for &(sheet, row) in self.quota_readers.of(quota) {
            let sheet = &mut self.sheets[sheet as usize];
            sheet.mark(row);
            // Somebody else's tier may be all that is looked at.
            if sheet.leaving.len() == sheet.leaving.capacity() {
                sheet.let_leave(now);
            }
            sheet.leaving.push_back((leaves, row));
        }
    }

    /// All quotas are counted in another way than before: another day has come, or failed calls count otherwise.
    pub(super) fn recount(&mut self) {
        self.sheets.iter_mut().for_each(Sheet::forget);
    }

    /// A quota or its cooldown has changed otherwise than by time alone.
    pub(super) fn touch_quota(&mut self, quota: u32) {
        for &(sheet, row) in self.quota_readers.of(quota) {
            self.sheets[sheet as usize].touch(row);
        }
    }

    /// A key's cooldown has changed otherwise than by time alone.
    pub(super) fn touch_key(&mut self, key: u32) {
        for &(sheet, row) in self.key_readers.of(key) {
            self.sheets[sheet as usize].touch(row);
        }
    }
}

impl Readers {
    fn add(&mut self, owner: u32, place: (u32, u32)) {
        let owner = owner as usize;
        if self.0.len() <= owner {
            self.0.resize_with(owner + 1, Vec::new);
        }
        self.0[owner].push(place);
    }

    fn of(&self, owner: u32) -> &[(u32, u32)] {
        self.0.get(owner as usize).map_or(&[], Vec::as_slice)
    }
}

impl Sheet {
    fn add(&mut self, member: Member) {
        let is_like = |other: &Row| other.member.order == member.order && other.member.key != member.key;
        self.is_plain &= self.rows.iter().all(is_like);
        self.rows.push(Row {
            member,
            is_plain: false,
            look: Look::Shut(Timestamp::MAX, Cause::None),
            stands: Term::OVER,
        });
        self.headroom.push(CLOSED);
        self.top.take(&self.headroom);
    }

    /// The room may be another than all rows say.
    fn forget(&mut self) {
        self.rows.iter_mut().for_each(|row| row.stands = Term::OVER);
        self.stands = Term::OVER;
    }

    /// Anything may be otherwise than what a row says.
    fn touch(&mut self, row: u32) {
        self.rows[row as usize].is_plain = false;
        self.mark(row);
    }

    /// The room may be another than what a row says.
    fn mark(&mut self, row: u32) {
        self.rows[row as usize].stands = Term::OVER;
        if self.marked.len() < self.rows.len() {
            self.marked.push(row);
        } else {
            self.stands = Term::OVER;
        }
    }

    /// Marks the rows whose windows sends have left.
    #[inline]
    fn let_leave(&mut self, now: Timestamp) {
        while let Some(&(leaves, row)) = self.leaving.front()
            && leaves <= now
        {
            self.leaving.pop_front();
            self.mark(row);
        }
    }

    /// Looks wherever the last look does not stand any more for a call of so many tokens.
    fn refresh(&mut self, view: &View<'_>, quotas: &mut [Quota], keys: &[KeyState]) {
        self.let_leave(view.now);
        if !self.stands.holds(view) {
            self.mark_over(view);
        }
        let mut stands = self.stands;
        while let Some(row) = self.marked.pop() {
            stands = stands.and(self.look(row as usize, view, quotas, keys));
        }
        self.stands = stands;
    }

    /// Marks the rows whose looks do not stand any more; the others' do as long as `stands` says.
    #[inline(never)]
    fn mark_over(&mut self, view: &View<'_>) {
        self.marked.clear();
        self.stands = Term::EVER;
        for (index, row) in (0..).zip(&self.rows) {
            if row.stands.holds(view) {
                self.stands = self.stands.and(row.stands);
            } else {
                self.marked.push(index);
            }
        }
    }

    /// Looks at one deployment, and says how long that stands.
    fn look(&mut self, index: usize, view: &View<'_>, quotas: &mut [Quota], keys: &[KeyState]) -> Term {
        let Row { member: Member { key, quota, weight, .. }, is_plain, look, stands } = &mut self.rows[index];
        let quota = &mut quotas[*quota as usize];
        if !*is_plain {
            *is_plain = view.is_plain(quota, &keys[*key as usize]);
        }
        let headroom = if !*is_plain {
            let key = &keys[*key as usize];
            *look = view.look(quota, key);
            *stands = view.term(look, quota, key);
            if let Look::Free { headroom, .. } = look { *headroom * *weight } else { CLOSED }
        } else if let Some((headroom, tokens_left)) = view.room(quota) {
            *look = Look::Free { headroom, tokens_left, probes: Probes::NONE, contested: false };
            *stands = Term { stale_at: Timestamp::MAX, tokens_left };
            headroom * *weight
        } else {
            let (until, cause, _) = quota.full(view.tokens, view.count_errors, view.rules);
            *look = Look::Full { until, cause, probes: Probes::NONE, asks: false };
            *stands = if fits_by_length(cause, quota) { Term::OVER } else { Term::EVER };
            CLOSED
        };
        let term = *stands;
        self.headroom[index] = headroom;
        if !self.top.note(index, headroom) {
            self.top.take(&self.headroom);
        }
        term
    }

    /// Of those that may be used and are chosen by headroom alone, one that has most of it, as [`Search::chosen`] would
    /// choose it. The failed row is the last resort.
    #[inline]
    fn roomiest(&self, start: usize, failed: Option<usize>) -> Option<usize> {
        self.top.one_from(start, failed).or_else(|| self.second(start, failed?))
    }

    /// The same, where the failed row alone has most.
    fn second(&self, start: usize, failed: usize) -> Option<usize> {
        let others = || self.headroom.iter().enumerate().filter(|(row, _)| *row != failed);
        let most = others().fold(CLOSED, |most, (_, own)| if *own > most { *own } else { most });
        let equals = || others().filter(|(_, own)| **own == most && most > CLOSED).map(|(row, _)| row);
        equals().find(|row| *row >= start).or(equals().next())
    }

    /// A deployment that may be used, with what an attempt would probe there beside `probes`.
    fn pick(&self, index: usize, probes: Probes) -> Pick {
        let Row { member: Member { deployment, .. }, look, .. } = &self.rows[index];
        let (own, contested) = match *look {
            Look::Free { probes, contested, .. } => (probes, contested),
            Look::Full { .. } | Look::Rests { .. } | Look::Shut(..) => (Probes::NONE, false),
        };
        Pick { deployment: *deployment, probes: probes.with(own), panic: None, contested }
    }
}

impl Term {
    /// One that is over.
    const OVER: Self = Self { stale_at: Timestamp::ZERO, tokens_left: 0 };
    const EVER: Self = Self { stale_at: Timestamp::MAX, tokens_left: u64::MAX };

    fn holds(&self, view: &View<'_>) -> bool {
        view.now < self.stale_at && u64::from(view.tokens) <= self.tokens_left
    }

    /// As long as both.
    fn and(self, other: Self) -> Self {
        Self { stale_at: self.stale_at.min(other.stale_at), tokens_left: self.tokens_left.min(other.tokens_left) }
    }
}

impl Router {
    /// Looks at every deployment of a tier and picks the best.
    pub(super) fn scan(&mut self, now: Timestamp, request: &Request, tier: TierId, probes: Probes) -> Offer {
        let index = tier.index() * ENDPOINTS as usize + endpoint_offset(request.endpoint) as usize;
        let node = self.node(request, tier);
        let knobs = &self.plan.settings.knobs;
        let count_errors = self.nodes[node].charging.counts(knobs.rate_charge_errors);
        let rules = self.rules();
        let view = View { now, tokens: request.tokens.input.get(), count_errors, rules: &rules, knobs };
        let sheet = &mut self.sheets.sheets[index];
        sheet.refresh(&view, &mut self.quotas, &self.keys);
        debug_assert!(view.agrees(sheet, &mut self.quotas, &self.keys), "a look was kept too long");

        let sheet = &self.sheets.sheets[index];
        let quick = if sheet.is_plain {
            let failed = request.failures.key().and_then(|key| self.sheets.row_of(key, index));
            let start = || drawn(self.sheets.lot(request), sheet.rows.len());
            sheet.top.only(failed).or_else(|| sheet.roomiest(start(), failed))
        } else {
            None
        };
        let found = match quick.map(|row| sheet.pick(row, probes)) {
            Some(pick) => Ok(pick),
            None => self.search(request, tier, probes),
        };
        debug_assert_eq!(found, self.search(request, tier, probes), "the short way leads elsewhere");
        match found {
            Ok(pick) => {
                Offer::Ready(pick, request.failures.back_until(node as u32).map_or(now, |until| until.max(now)))
            }
            Err((until, cause)) => later(until, cause),
        }
    }

    /// Weighs all deployments as they were last seen. Where none may be used, what opens first.
    #[inline(never)]
    fn search(&mut self, request: &Request, tier: TierId, probes: Probes) -> Result<Pick, (Timestamp, Cause)> {
        let plan = &self.plan.tiers[tier.index()];
        let knobs = &self.plan.settings.knobs;
        let ballot = Ballot {
            strategy: knobs.select_strategy,
            lot: self.sheets.lot(request),
            cursor: self.tiers[plan.owner as usize].cursor,
            members: plan.deployments.len() as u32,
            count_errors: self.nodes[self.node(request, tier)].charging.counts(knobs.rate_charge_errors),
        };
        let index = tier.index() * ENDPOINTS as usize + endpoint_offset(request.endpoint) as usize;
        let sheet = &mut self.sheets.sheets[index];
        sheet.equals.clear();
        let mut search = Search {
            ballot,
            probes,
            failed_key: request.failures.key(),
            quotas: &self.quotas,
            sites: &self.sites,
            best: None,
            equals: &mut sheet.equals,
            first: (Timestamp::MAX, Cause::Dead),
            open: 0,
            soft: 0,
            shortest: None,
        };
        for (index, row) in sheet.rows.iter().enumerate() {
            if search.best.is_some_and(|best| best.rank == Rank::Usual && best.order < row.member.order) {
                break;
            }
            search.consider(index, &row.member, &row.look);
        }
        search.chosen(drawn(ballot.lot, sheet.rows.len())).or(search.panic(knobs.panic_fraction)).ok_or(search.first)
    }
}

impl Search<'_> {
    /// Weighs a deployment, or notes what is in its way.
    fn consider(&mut self, index: usize, member: &Member, look: &Look) {
        let (until, cause) = match *look {
            Look::Free { headroom, probes, contested, tokens_left: _ } => {
                let rank = if self.failed_key == Some(member.key) { Rank::SameKey } else { Rank::Usual };
                self.open += 1;
                return self.weigh(index, member, rank, headroom * member.weight, (probes, contested));
            }
            Look::Full { probes, asks: true, .. } if !probes.any() && !self.probes.any() => {
                let probes = probes.with(Probes::CHARGING);
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
        // Seldom sooner than all before.
        if until <= self.first.0 && (until, cause) < self.first {
            self.first = (until, cause);
        }
    }

    fn weigh(&mut self, index: usize, member: &Member, rank: Rank, headroom: f64, (probes, contested): (Probes, bool)) {
        let &Member { deployment, quota, site, weight, order, .. } = member;
        let (quota, site) = (&self.quotas[quota as usize], &self.sites[site as usize]);
        let score = self.ballot.score(headroom, || Candidate { deployment, index, weight, quota, site });
        let own = Best { rank, order, score };
        if self.best.is_none_or(|best| own.beats(best)) {
            self.best = Some(own);
            self.equals.clear();
        }
        if self.best.is_some_and(|best| (best.rank, best.score) == (own.rank, own.score)) {
            self.equals.push((index, self.pick(member, probes, contested)));
        }
    }

    fn pick(&self, member: &Member, probes: Probes, contested: bool) -> Pick {
        Pick { deployment: member.deployment, probes: self.probes.with(probes), panic: None, contested }
    }

    /// Of all that are equally good the first from row `start` on, or else the first of all.
    fn chosen(&self, start: usize) -> Option<Pick> {
        let chosen = self.equals.iter().find(|(row, _)| *row >= start).or(self.equals.first());
        chosen.map(|(_, pick)| *pick)
    }

    /// The choice against soft cooldowns, where no other is left and too few deployments are open.
    fn panic(&self, fraction: f64) -> Option<Pick> {
        let (_, pick) = self.shortest?;
        let share = f64::from(self.open) / f64::from(self.open + self.soft);
        (share < fraction).then_some(Pick { panic: Some((share * 1e6) as u32), ..pick })
    }
}

impl Best {
    fn beats(self, other: Self) -> bool {
        if self.rank == other.rank { self.score > other.score } else { self.rank < other.rank }
    }
}

/// Whether the next room of a full quota is a matter of a call's length.
fn fits_by_length(cause: Cause, quota: &Quota) -> bool {
    cause != Cause::RateDay && quota.limits_tokens()
}

/// How deployments are looked at for one decision.
struct View<'a> {
    now: Timestamp,
    tokens: u32,
    /// Whether failed calls are taken to count.
    count_errors: bool,
    rules: &'a Rules,
    knobs: &'a Knobs,
}

impl View<'_> {
    /// Whether there is nothing to ask about a deployment but its quota's room, until somebody touches it.
    fn is_plain(&self, quota: &Quota, key: &KeyState) -> bool {
        key.is_plain(self.now) && quota.cooldown.is_none() && !self.learns()
    }

    /// The room of a plain one, as in [`Room::Free`].
    #[inline]
    fn room(&self, quota: &mut Quota) -> Option<(f64, u64)> {
        quota.free(self.now, self.tokens, self.count_errors, self.rules)
    }

    /// Whether it is still open if failed calls count, and asked.
    fn learns(&self) -> bool {
        self.knobs.rate_charge_errors == ChargeErrors::Learn
    }

    /// Looks at one deployment.
    fn look(&self, quota: &mut Quota, key: &KeyState) -> Look {
        let View { now, tokens, count_errors, rules, knobs } = *self;
        let mut probes = Probes::NONE;
        if key.drained > now {
            return Look::Shut(key.drained, Cause::Operator);
        }
        match quota.cooldown.gate(now, knobs.probe_concurrent) {
            Gate::Open => {}
            Gate::Probe => probes = Probes::QUOTA,
            Gate::Closed(until, cause) => return Look::Shut(until, cause),
        }
        let room = quota.room(now, tokens, count_errors, rules);
        match key.cooldown.gate(now, knobs.probe_concurrent) {
            Gate::Open => {}
            Gate::Probe => probes = probes.with(Probes::KEY),
            Gate::Closed(until, cause) => {
                let room = matches!(room, Room::Free { .. });
                return Look::Rests { until, cause, probes, soft: key.cooldown.is_soft(), room };
            }
        }
        let learns = self.learns();
        match room {
            Room::Free { headroom, tokens_left } => {
                let contested = learns && !count_errors && quota.is_contested(rules);
                Look::Free { headroom, tokens_left, probes, contested }
            }
            Room::Full { until, cause, count: _ } => {
                let may_ask = learns && count_errors && quota.next_learning <= now;
                let asks = may_ask && quota.has_room_but_for_errors(now, tokens, rules);
                Look::Full { until, cause, probes, asks }
            }
        }
    }

    /// How long a look stands. When a quota that limits tokens is full, its next room is a matter of the call's length,
    /// and whether failed calls count is asked anew each time.
    fn term(&self, look: &Look, quota: &Quota, key: &KeyState) -> Term {
        let asks = self.learns() && quota.has_errors(self.rules);
        let by_tokens = match *look {
            Look::Free { .. } | Look::Shut(..) => false,
            Look::Full { cause, .. } => fits_by_length(cause, quota),
            Look::Rests { .. } => quota.limits_tokens(),
        };
        if asks || by_tokens {
            return Term::OVER;
        }
        let tokens_left = match *look {
            Look::Free { tokens_left, .. } => tokens_left,
            Look::Full { .. } | Look::Rests { .. } | Look::Shut(..) => u64::MAX,
        };
        let rests = key.cooldown.changes_at(self.now).min(quota.cooldown.changes_at(self.now));
        let drained = if key.drained > self.now { key.drained } else { Timestamp::MAX };
        Term { stale_at: rests.min(drained), tokens_left }
    }

    /// Whether fresh looks find what the sheet says.
    fn agrees(&self, sheet: &Sheet, quotas: &mut [Quota], keys: &[KeyState]) -> bool {
        sheet.rows.iter().all(|Row { member, look, .. }| {
            self.look(&mut quotas[member.quota as usize], &keys[member.key as usize]) == *look
        })
    }
}
