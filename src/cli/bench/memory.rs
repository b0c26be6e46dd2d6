//! How much memory a command may plan with: what the system says is available, not what it grants.
//!
//! An allocation that the machine cannot hold is often granted and the process killed when it is
//! filled. So sizes are compared with this number first.

use std::fs;

/// Bytes that are available now, where the system says it.
///
/// Linux: the smaller of `MemAvailable` and what the control group still allows.
pub(crate) fn available() -> Option<usize> {
    let free = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| meminfo(&text))?;
    let number = |name: &str| {
        let text = fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
        text.trim().parse::<usize>().ok()
    };
    let group =
        number("memory.max").map(|most| most.saturating_sub(number("memory.current").unwrap_or(0)));
    Some(group.map_or(free, |group| free.min(group)))
}

/// `MemAvailable: 123 kB` to bytes.
fn meminfo(text: &str) -> Option<usize> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes = line
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<usize>()
        .ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_and_read() {
        let text = "MemTotal:       8 kB\nMemAvailable:    7  kB\nSwapFree: 1 kB\n";
        assert_eq!(meminfo(text), Some(7 << 10));
        assert_eq!(meminfo("MemTotal: 8 kB\n"), None);
        assert_eq!(meminfo("MemAvailable: many kB\n"), None);
        assert_eq!(meminfo("MemAvailable: 18446744073709551615 kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_says_it() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
