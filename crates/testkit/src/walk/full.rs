//! The same walk, on which nobody dies: the disk becomes full at every place.

use super::{Beside, MANY_VISITS, Walk, nothing_is_left_over};
use crate::disk::Disk;

impl Walk<'_> {
    /// From the first place to the last, of a home on this disk. The command goes well all the same, or says why not and leaves
    /// nothing; when there is room again, it does what it was to. Gives back at how many places it did not go well.
    #[track_caller]
    pub fn through_a_full_disk(&mut self, disk: &Disk) -> usize {
        let (home, faults) = (self.home, self.home.faults());
        (self.prepare)(home);
        faults.record();
        home.nap(self.command).ok();
        nothing_is_left_over(home);
        let places = faults.recorded();
        assert!((self.look)(home), "it is done");
        (self.undo)(home);
        let daemon = home.daemon_process();
        let mut failed = 0;
        for (place, visits) in places {
            // What is come to with every file is tried where nothing has been written yet, as all others are.
            println!("… full at {place}{}", if visits > MANY_VISITS { ", the first visit" } else { "" });
            (self.prepare)(home);
            faults.hold_at(&place);
            let command = Beside::begin(home.nap_command(self.command));
            let held = faults.wait_held(&place);
            disk.fill();
            drop(held);
            let said = command.end();
            println!("{said}");
            disk.free();
            assert_eq!(home.daemon_process(), daemon, "the daemon goes on");
            if !said.succeeded() {
                failed += 1;
                let why = said.stderr.to_lowercase();
                assert!(["space", "full"].iter().any(|word| why.contains(word)), "{place}: {said}");
            }
            nothing_is_left_over(home);
            let is_done = (self.look)(home);
            assert!(is_done || !said.succeeded(), "what it said is so: {said}");
            if !is_done {
                home.nap(self.command).ok();
                assert!((self.look)(home), "{place}: given again, it is done");
            }
            (self.undo)(home);
        }
        failed
    }
}
