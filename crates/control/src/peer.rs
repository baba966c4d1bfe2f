//! Who may use the socket.

/// Root.
const ROOT_UID: u32 = 0;

/// Whether the process at the other end may: the home's owner and root.
pub(crate) fn may_control(peer_uid: u32, owner_uid: u32) -> bool {
    peer_uid == owner_uid || peer_uid == ROOT_UID
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_owner_and_root_may() {
        assert!(super::may_control(1000, 1000));
        assert!(super::may_control(0, 1000));
        assert!(!super::may_control(1001, 1000));
        assert!(!super::may_control(1000, 0));
    }
}
