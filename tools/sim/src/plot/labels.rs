//! Places of the labels of events above a plot, so that none covers another.

/// The width of a character of small text, in pixels, at most.
pub(super) const CHARACTER: f64 = 6.6;
/// More rows than this take too much of the plot.
const ROWS: usize = 4;

/// A label in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Label {
    pub(super) text: String,
    /// Its left end, in pixels.
    pub(super) x: i32,
    /// From 0; the last is next to the plot.
    pub(super) row: usize,
}

/// Places labels at these pixels, left of `right`, in as few rows as possible. Labels for which
/// there is no room become one that says how many they are.
pub(super) fn place(events: &[(i32, &str)], right: i32) -> (Vec<Label>, usize) {
    let mut ends: Vec<i32> = Vec::new();
    let mut labels = Vec::new();
    let mut left_out = 0;
    for &(at, text) in events {
        let width = (text.chars().count() as f64 * CHARACTER).ceil() as i32;
        let x = at.min(right - width).max(0);
        let row = match ends.iter().position(|&end| end < x) {
            Some(row) => row,
            None if ends.len() < ROWS => {
                ends.push(0);
                ends.len() - 1
            }
            None => {
                left_out += 1;
                continue;
            }
        };
        if let Some(end) = ends.get_mut(row) {
            *end = x + width + 4;
        }
        labels.push(Label {
            text: text.into(),
            x,
            row,
        });
    }
    let rows = ends.len();
    labels
        .iter_mut()
        .for_each(|label| label.row = rows - 1 - label.row);
    (labels, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_cover_each_other() {
        let events: Vec<_> = (0..20).map(|n| (n * 37, "cut-links-12")).collect();
        let (labels, left_out) = place(&events, 600);
        assert!(labels.len() > 8);
        assert_eq!(labels.len() + left_out, 20);
        let width = (12.0 * CHARACTER) as i32;
        for (number, a) in labels.iter().enumerate() {
            assert!(a.x >= 0 && a.x + width <= 600);
            for b in labels.iter().skip(number + 1) {
                assert!(
                    a.row != b.row || a.x.abs_diff(b.x) as i32 > width,
                    "{a:?} {b:?}"
                );
            }
        }
        let (one, _) = place(&[(595, "kill-root")], 600);
        assert!(one[0].row == 0 && one[0].x < 560);
    }
}
