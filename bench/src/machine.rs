//! What the figures were measured on, without anything that names the machine.

use std::path::Path;

use crate::account::run;
use crate::cluster::Cluster;

/// One line: date, CPU, cores, kernel, PostgreSQL, file system.
pub(crate) fn line(cluster: &Cluster) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel: String = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let postgres = run(cluster.account.command(cluster.bin.join("postgres")).arg("--version")).unwrap_or_default();
    format!(
        "{}, {} cores of {}, Linux {kernel}, {}, {}",
        run(std::process::Command::new("date").arg("+%Y-%m-%d")).unwrap_or_default(),
        cores,
        model.map_or("an unknown CPU", |(_, model)| model),
        postgres.replace(" (PostgreSQL)", "").replace("postgres", "PostgreSQL"),
        file_system(&cluster.data),
    )
}

fn file_system(path: &Path) -> String {
    // Not `df`: a subvolume is no mount, and it finds none.
    run(std::process::Command::new("findmnt").args(["-no", "FSTYPE", "--target"]).arg(path)).unwrap_or_default()
}
