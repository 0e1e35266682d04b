//! The fault matrix: each fault of a real Prometheus, crossed with each state of a watch, published as
//! `docs/fault-matrix.md`.
//!
//! Never takes a cell from anything but a run: the document is stale when a run says something else.
//!
//! `UPDATE=1` rewrites the document. `FAULT=TEXT` runs only the rows whose names contain the text, and compares those.
//! `LANES=3` runs three rows side by side, for a machine that is busy with other things.

#[cfg(test)]
#[path = "../e2e"]
#[expect(dead_code, unused_imports, reason = "the end-to-end tests use more of the world")]
mod e2e {
    pub(crate) mod world;
}
#[cfg(test)]
mod fault;
#[cfg(test)]
mod page;
#[cfg(test)]
mod row;
#[cfg(test)]
mod seen;
#[cfg(test)]
mod state;

#[cfg(test)]
use crate::e2e::world;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use crate::fault::Fault;
    use crate::page;
    use crate::row;
    use crate::seen::Row;

    /// How many rows run side by side: each waits for data most of the time, and takes a tenth of a core.
    const LANES: usize = 6;

    /// Runs these rows, the longest first, each in a thread of its own. A row that fails says so at once, and the
    /// others go on.
    fn run(faults: &[Fault]) -> BTreeMap<usize, Row> {
        let mut waiting: Vec<(usize, Fault)> = faults.iter().copied().enumerate().collect();
        waiting.sort_by_key(|(_, fault)| fault.least());
        let waiting = Arc::new(Mutex::new(waiting));
        let done = Arc::new(Mutex::new(BTreeMap::new()));
        let count = std::env::var("LANES").map_or(LANES, |lanes| lanes.parse().expect("a number of lanes"));
        let lanes = (0..count).map(|_| {
            let (waiting, done) = (Arc::clone(&waiting), Arc::clone(&done));
            std::thread::spawn(move || {
                loop {
                    let Some((place, fault)) = waiting.lock().unwrap().pop() else { return };
                    let row = std::thread::spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                        runtime.unwrap().block_on(row::run(fault))
                    });
                    let began = std::time::Instant::now();
                    match row.join() {
                        Ok(row) => {
                            println!("{:>5.1?} {}", began.elapsed(), page::line(&row).trim());
                            done.lock().unwrap().insert(place, row);
                        }
                        Err(_) => println!("{:>5.1?} {} failed", began.elapsed(), fault.name),
                    }
                }
            })
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().for_each(|lane| lane.join().unwrap());
        Arc::into_inner(done).unwrap().into_inner().unwrap()
    }

    #[test]
    fn the_fault_matrix_is_as_published() {
        let wanted = std::env::var("FAULT").unwrap_or_default();
        let faults: Vec<Fault> = Fault::all().into_iter().filter(|fault| fault.name.contains(&wanted)).collect();
        let rows = run(&faults);
        let failed = faults.iter().enumerate().filter(|(place, _)| !rows.contains_key(place));
        let failed: Vec<_> = failed.map(|(_, fault)| fault.name).collect();
        let rows: Vec<Row> = rows.into_values().collect();

        let update = std::env::var("UPDATE").is_ok_and(|update| update == "1");
        let published = std::fs::read_to_string(page::file()).unwrap_or_default();
        let page = page::with(&rows, &published);
        if update {
            std::fs::write(page::file(), &page).unwrap();
        }
        assert!(failed.is_empty(), "these rows failed, see above: {failed:?}");
        assert!(update || published == page, "docs/fault-matrix.md is stale: UPDATE=1 rewrites it; seen:\n{page}");
    }
}
