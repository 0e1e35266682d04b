//! A folder of receipts, as it may be found.

use std::fs;

use rollbackd::receipts::Receipts;
use rollbackd_core::name::ServiceName;
use rollbackd_core::receipt::FrontMatter;

use super::folder;

/// A folder that verifies holds receipts each of whose bytes counts; any folder can be listed and shown.
pub(super) fn receipts(bytes: &[u8]) {
    let files = folder::files(bytes);
    let dir = folder::written(&files);
    let receipts = Receipts::new(dir.path());
    let report = receipts.verify(&[]).expect("a folder that can be read");
    assert_eq!(receipts.verify(&[]).ok().as_ref(), Some(&report));
    let listed = receipts.list().expect("a folder that can be read");
    assert_eq!(listed.len(), report.checked);
    assert_eq!(receipts.last_number().ok(), Some(listed.last().map(|last| last.number)));
    for summary in &listed {
        let shown = receipts.show(summary.number).expect("what is listed is shown");
        if let Ok(front) = &summary.facts {
            assert_eq!(FrontMatter::read(&shown).as_ref(), Ok(front));
            assert_eq!(FrontMatter::read(&front.yaml()).as_ref(), Ok(front), "{}", front.yaml());
        }
        let _ = receipts.told(summary.number);
    }
    let service = ServiceName::new("capstone-api").expect("a name");
    let _ = receipts.experience(&service).expect("a folder that can be read");
    assert_eq!(report.table().lines().count(), report.problems.len() + 1, "{}", report.table());
    if report.is_good() && !listed.is_empty() {
        every_byte_counts(dir.path(), &receipts, bytes.len());
    }
}

/// Changes one byte of each file: that is found.
fn every_byte_counts(dir: &std::path::Path, receipts: &Receipts, seed: usize) {
    for entry in fs::read_dir(dir).expect("a folder that can be read").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        let sound = fs::read(entry.path()).expect("a file that can be read");
        let mut changed = sound.clone();
        let place = seed.wrapping_mul(2_654_435_761) % sound.len().max(1);
        let Some(byte) = changed.get_mut(place) else { continue };
        *byte ^= 1;
        fs::write(entry.path(), &changed).expect("a file that can be written");
        let report = receipts.verify(&[]).expect("a folder that can be read");
        assert!(!report.is_good(), "byte {place} of {name} was changed, and nobody noticed");
        fs::write(entry.path(), &sound).expect("a file that can be written");
    }
}
