//! The explorer: breadth first over all that may happen, each state once by its canonical form; then backwards from the
//! quiet states.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use rollbackd_core::deploy::Migration;

use super::acts::{Choice, calm as one_calm_step, deployed, run_aloud, successors};
use super::canonical::hash;
use super::invariants::Broken;
use super::plan::{Plan, Reading};
use super::turn::Turn;
use super::world::World;
use crate::common::version;

/// What an exploration found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    pub(crate) depth: usize,
    /// States in which nothing is under way and no human is needed.
    pub(crate) quiet: usize,
    /// States in which nothing is under way and a human is needed, by an open page that was delivered.
    pub(crate) waiting: usize,
    pub(crate) took: Duration,
}

#[expect(clippy::disallowed_types, reason = "which states are known; no order of it reaches anything")]
type Known = std::collections::HashMap<u128, u32>;

/// The graph: where each state was first reached from, and the edges, those of a fair environment marked.
#[derive(Default)]
struct Graph {
    parents: Vec<(u32, u16)>,
    edges: Vec<(u32, bool)>,
    ends: Vec<usize>,
    quiet: Vec<bool>,
    settled: Vec<bool>,
}

/// The state in which a plan's model begins: nothing deployed, or `v1` deployed and healthy.
pub(crate) fn beginning(plan: &Plan) -> World {
    let mut world = World::new(plan);
    if plan.unproven {
        return world;
    }
    for name in plan.config.services.keys() {
        world.outside.get_mut(name).expect("a service of the model").serve(&version("v1"), world.now);
    }
    let mut calm = plan.clone();
    calm.readings = vec![Reading::Clear];
    calm.migration = Migration::None;
    calm.broken = None;
    let names: Vec<_> = plan.config.services.keys().cloned().collect();
    for name in names {
        let mut turn = Turn::new(&calm, world, None);
        turn.tell(&name, deployed(&calm, &version("v1"))).expect("v1 is deployed");
        world = turn.world;
    }
    // Only time, looks and wakes, until v1 has passed.
    while !world.is_quiet() {
        world = one_calm_step(&calm, &world);
    }
    world
}

/// Explores everything; the first invariant that is broken comes with the shortest way to it.
pub(crate) fn explore(plan: &Plan) -> Result<Found, String> {
    #[expect(clippy::disallowed_methods, reason = "the time that it took is reported, and decides nothing")]
    let began = std::time::Instant::now();
    let mut graph = Graph::default();
    let mut known = Known::default();
    let first = beginning(plan);
    known.insert(hash(plan, &first), 0);
    graph.parents.push((0, 0));
    graph.note(&first);
    let mut level = vec![first];
    let mut next = Vec::new();
    let (mut from, mut depth) = (0_u32, 0);
    while !level.is_empty() {
        for world in std::mem::take(&mut level) {
            for (index, (choice, reached)) in successors(plan, &world).into_iter().enumerate() {
                let index = u16::try_from(index).expect("fewer choices than that");
                let reached = match reached {
                    Ok(reached) => reached,
                    Err(broken) => return Err(graph.trace(plan, from, Some((&choice, &broken)))),
                };
                let count = u32::try_from(graph.parents.len()).expect("fewer states than that");
                let to = *known.entry(hash(plan, &reached)).or_insert(count);
                if to == count {
                    graph.parents.push((from, index));
                    graph.note(&reached);
                    next.push(reached);
                }
                graph.edges.push((to, choice.fair));
            }
            graph.ends.push(graph.edges.len());
            from += 1;
        }
        std::mem::swap(&mut level, &mut next);
        depth += usize::from(!level.is_empty());
        progress(plan, depth, graph.parents.len(), level.len());
    }
    graph.everything_can_end(plan)?;
    graph.ends_by_itself(plan)?;
    let waiting = graph.settled.iter().zip(&graph.quiet).filter(|(settled, quiet)| **settled && !**quiet).count();
    Ok(Found {
        states: graph.parents.len(),
        transitions: graph.edges.len(),
        depth,
        quiet: graph.quiet.iter().filter(|quiet| **quiet).count(),
        waiting,
        took: began.elapsed(),
    })
}

/// Said while larger bounds are explored, which takes long.
fn progress(plan: &Plan, depth: usize, states: usize, level: usize) {
    if plan.aloud {
        eprintln!("{}: depth {depth}, {states} states, {level} of them new", plan.name);
    }
}

impl Graph {
    fn note(&mut self, world: &World) {
        self.quiet.push(world.is_quiet());
        self.settled.push(world.is_settled());
    }

    fn edges_of(&self, state: usize) -> &[(u32, bool)] {
        let begin = state.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.edges[begin..self.ends[state]]
    }

    /// The states that lead to each state, by the edges that count.
    fn backwards(&self, counts: impl Fn(bool) -> bool) -> Vec<Vec<u32>> {
        let mut before = vec![Vec::new(); self.parents.len()];
        for state in 0..self.parents.len() {
            for (to, fair) in self.edges_of(state) {
                if counts(*fair) {
                    before[*to as usize].push(u32::try_from(state).expect("counted before"));
                }
            }
        }
        before
    }

    /// From every state a quiet one can be reached.
    fn everything_can_end(&self, plan: &Plan) -> Result<(), String> {
        let before = self.backwards(|_| true);
        let mut can = self.quiet.clone();
        let mut todo: VecDeque<usize> = (0..can.len()).filter(|state| can[*state]).collect();
        while let Some(state) = todo.pop_front() {
            for earlier in &before[state] {
                let earlier = *earlier as usize;
                if !can[earlier] {
                    can[earlier] = true;
                    todo.push_back(earlier);
                }
            }
        }
        let name = "from every state a quiet one can be reached";
        self.first_without(plan, &can, name)
    }

    /// Where everything works and no human does anything, every way leads to a state in which nothing is under way: a
    /// quiet one, or one in which a human is waited for by an open page. No way goes round for ever before that.
    fn ends_by_itself(&self, plan: &Plan) -> Result<(), String> {
        let before = self.backwards(|fair| fair);
        let mut open: Vec<usize> = (0..self.parents.len())
            .map(|state| self.edges_of(state).iter().filter(|(_, fair)| *fair).count())
            .collect();
        let mut must = self.settled.clone();
        let mut todo: VecDeque<usize> = (0..must.len()).filter(|state| must[*state]).collect();
        while let Some(state) = todo.pop_front() {
            for earlier in &before[state] {
                let earlier = *earlier as usize;
                open[earlier] -= 1;
                if open[earlier] == 0 && !must[earlier] {
                    must[earlier] = true;
                    todo.push_back(earlier);
                }
            }
        }
        let name = "without any human, everything ends or waits for one by an open page";
        self.first_without(plan, &must, name)
    }

    fn first_without(&self, plan: &Plan, good: &[bool], name: &'static str) -> Result<(), String> {
        match good.iter().position(|good| !good) {
            None => Ok(()),
            Some(state) => {
                let stuck = good.iter().filter(|good| !**good).count();
                let state = u32::try_from(state).expect("counted before");
                let trace = self.trace(plan, state, None);
                Err(format!("{name}: {stuck} states can't, the first of them this one\n{trace}"))
            }
        }
    }

    /// The shortest way to a state, and the step after it that broke something, as a test that can be pasted.
    fn trace(&self, plan: &Plan, state: u32, last: Option<(&Choice, &Broken)>) -> String {
        let mut way = Vec::new();
        let mut at = state;
        while at != 0 {
            let (from, index) = self.parents[at as usize];
            way.push(index);
            at = from;
        }
        let mut world = beginning(plan);
        let (mut test, mut story) = (String::new(), String::new());
        let mut tell = |world: &World, choice: &Choice| {
            let _ = writeln!(test, "        {:?},", choice.to_string());
            let _ = writeln!(story, "{} {choice}", world.now);
            let (reached, told) = run_aloud(plan, world, choice);
            told.iter().for_each(|line| {
                let _ = writeln!(story, "    {line}");
            });
            reached
        };
        for index in way.into_iter().rev() {
            let (choice, _) = successors(plan, &world).swap_remove(usize::from(index));
            world = tell(&world, &choice).expect("a way that was gone before");
        }
        let mut what = String::new();
        if let Some((choice, broken)) = last {
            let _ = tell(&world, choice);
            let _ = write!(what, "BROKEN: {}\n{}\n", broken.name, broken.what);
        } else {
            let _ = writeln!(story, "{:#?}", world.state);
        }
        format!(
            "{what}in the plan {:?}, by this shortest way:\n{story}\nas a test:\n#[test]\nfn found_by_the_model() \
             {{\n    follow({:?}, &[\n{test}    ]);\n}}\n",
            plan.name, plan.name
        )
    }
}

/// Goes the way that these choices name, and checks every invariant on it.
pub(crate) fn follow(plan: &Plan, way: &[&str]) -> World {
    let mut world = beginning(plan);
    for step in way {
        let all = successors(plan, &world);
        let names: BTreeSet<String> = all.iter().map(|(choice, _)| choice.to_string()).collect();
        let found = all.into_iter().find(|(choice, _)| choice.to_string() == *step);
        let (_, reached) = found.unwrap_or_else(|| panic!("{step:?} can't happen; what can: {names:#?}"));
        world = reached.unwrap_or_else(|broken| panic!("{step:?} breaks: {}\n{}", broken.name, broken.what));
    }
    world
}

/// States that are the same by their canonical form have the same successors, in as many of them as are compared.
pub(crate) fn canonical_form_is_sound(plan: &Plan, most: usize) -> Result<usize, String> {
    let mut first: BTreeMap<u128, Vec<u128>> = BTreeMap::new();
    let after = |world: &World| -> Vec<(u128, World)> {
        let reached = successors(plan, world).into_iter().filter_map(|(_, reached)| reached.ok());
        reached.map(|world| (hash(plan, &world), world)).collect()
    };
    let sorted = |all: &[(u128, World)]| {
        let hashes: BTreeSet<u128> = all.iter().map(|(hash, _)| *hash).collect();
        hashes.into_iter().collect::<Vec<_>>()
    };
    let mut todo = VecDeque::from([beginning(plan)]);
    let mut compared = 0;
    while let Some(world) = todo.pop_front() {
        let own = hash(plan, &world);
        let reached = after(&world);
        let hashes = sorted(&reached);
        match first.get(&own) {
            Some(known) if known != &hashes => {
                return Err(format!("{}: two states with one form differ in what follows:\n{world:#?}", plan.name));
            }
            Some(_) => compared += 1,
            None => {
                first.insert(own, hashes);
                todo.extend(reached.into_iter().map(|(_, world)| world));
            }
        }
        if compared >= most {
            break;
        }
    }
    Ok(compared)
}
