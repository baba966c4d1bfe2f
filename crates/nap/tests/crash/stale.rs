//! What a dead server left: a pid file whose number is somebody else now, its socket, its shared memory.

use nap_testkit::{Frozen, as_server_user, give_to_server_user, process};

use super::{home, rows};

#[test]
fn a_pid_file_whose_number_is_another_process_now_stands_in_nobodys_way() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let pid_file = home.data("main").join("postmaster.pid");
    let text = std::fs::read_to_string(&pid_file).unwrap();
    home.sleep("main");

    // `setpriv` becomes `sleep`: to PostgreSQL a living process of its own user, as a postmaster would be.
    let mut other = as_server_user("sleep").arg("600").spawn().unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(&pid_file, format!("{}\n{rest}", other.id())).unwrap();
    give_to_server_user(&pid_file);
    assert_eq!(rows(&home), "1");
    assert!(process::is_alive(other.id() as i32), "it was none of our business");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn an_empty_or_torn_pid_file_stands_in_nobodys_way() {
    let home = home();
    for text in ["", "12", "not a number\n/somewhere\n"] {
        home.sleep("main");
        let pid_file = home.data("main").join("postmaster.pid");
        std::fs::write(&pid_file, text).unwrap();
        give_to_server_user(&pid_file);
        assert_eq!(rows(&home), "0", "{text:?}");
    }
}

#[test]
fn a_stale_private_socket_and_its_lock_stand_in_nobodys_way() {
    let home = home();
    home.sleep("main");
    let directory = home.private_socket_directory("main");
    let socket = directory.join(".s.PGSQL.5432");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut other = as_server_user("sleep").arg("600").spawn().unwrap();
    let lock = directory.join(".s.PGSQL.5432.lock");
    std::fs::write(&lock, format!("{}\n{}\n0\n5432\n\n", other.id(), home.data("main").display())).unwrap();
    [&socket, &lock].into_iter().for_each(|path| give_to_server_user(path));
    assert_eq!(rows(&home), "0");
    assert!(process::is_alive(other.id() as i32));
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn the_shared_memory_of_a_server_that_was_killed_whole_is_given_back() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let text = std::fs::read_to_string(home.data("main").join("postmaster.pid")).unwrap();
    let segment: String = text.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    let is_there = || {
        let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
        table.lines().any(|line| line.split_whitespace().nth(1) == Some(&segment))
    };
    assert!(is_there());
    home.kill_daemon();
    // Frozen, they cannot notice one another's death and clean up after themselves.
    let all = home.server_processes("main");
    let frozen: Vec<_> = all.iter().map(|pid| Frozen::process(*pid)).collect();
    all.iter().for_each(|pid| process::kill9(*pid));
    all.iter().for_each(|pid| process::wait_gone(*pid));
    drop(frozen);
    assert!(is_there(), "nobody was left to remove it");

    home.up();
    assert_eq!(rows(&home), "1");
    assert!(!is_there(), "its successor removed it");
}
