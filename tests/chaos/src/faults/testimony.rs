//! Who led, by the members' own logs. Pure.
//!
//! A member may lead for a moment in which nobody asks it, or one whose clients' door is not open yet. Whoever follows it,
//! and it itself, writes that down.

/// What a log tells of elections.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// Terms and their leaders: each line of a change of leadership that names a leader.
    pub leaders: Vec<(u64, u64)>,
    /// Members, the terms that they led, and the earlier ones that they were in after that. Who leads has its vote on the
    /// disk, so that it can be in no earlier term any more, however it ends.
    pub went_back: Vec<(u64, u64, u64)>,
}

fn quoted<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split_once(name)?.1.strip_prefix('"')?.split_once('"').map(|(value, _)| value)
}

pub fn testimony(log: &str) -> Testimony {
    let mut testimony = Testimony::default();
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    // A member that was wiped has the log of the one before it, and another id.
    let (mut own, mut led) = (0, 0);
    for line in log.lines() {
        if line.contains("::member: starting ") {
            let Some(member) = quoted(line, " member=").and_then(number) else { continue };
            led = if member == own { led } else { 0 };
            own = member;
        }
        let Some((_, told)) = line.split_once("::consensus: leadership ") else { continue };
        let Some(term) = told.split_once("term=").and_then(|(_, term)| term.trim().parse().ok()) else { continue };
        if term < led {
            testimony.went_back.push((own, led, term));
        }
        if let Some(leader) = quoted(told, "leader=").and_then(number) {
            testimony.leaders.push((term, leader));
            led = if leader == own { led.max(term) } else { led };
        }
    }
    testimony
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_name_a_leader_tell_of_one() {
        let log = "\
19:12:25.002221Z  INFO raftstore::raft::consensus: leadership term=2
19:12:25.007347Z  INFO raftstore::raft::consensus: leadership leader=\"f1002ac8e9d8aa56\" term=2
19:12:30.780753Z  INFO raftstore::raft::consensus: leadership handed on to=\"1\"
19:12:35.096882Z  INFO raftstore::raft::consensus: leadership leader=\"2a\" term=13
19:12:35.096882Z  INFO raftstore::raft::consensus: leadership leader=\"2a\" ter";
        let leaders = vec![(2, 0xf100_2ac8_e9d8_aa56), (13, 0x2a)];
        assert_eq!(testimony(log), Testimony { leaders, went_back: Vec::new() });
    }

    #[test]
    fn who_has_led_goes_back_to_no_earlier_term() {
        let starts = |id| format!("INFO raftstore::member: starting name=\"m1\" member=\"{id}\" cluster=\"c\"\n");
        let line = |text| format!("INFO raftstore::raft::consensus: leadership {text}\n");
        let (follows, leads) = (line("leader=\"b\" term=7"), line("leader=\"a\" term=7"));
        let back = line("term=6");
        let went_back = |log: &[&str]| testimony(&log.concat()).went_back;
        let (a, c) = (starts("a"), starts("c"));
        assert_eq!(went_back(&[&a, &leads, &a, &back]), [(10, 7, 6)]);
        assert_eq!(went_back(&[&a, &leads, &a, &leads]), []);
        // What a follower has heard of may not have come to its disk.
        assert_eq!(went_back(&[&a, &follows, &a, &back]), []);
        assert_eq!(went_back(&[&a, &leads, &c, &back]), [], "another member");
    }
}
