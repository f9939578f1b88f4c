//! Positions of the labels of events above a plot, such that no label covers another.

/// The largest width of a character of small text, in pixels.
pub(super) const CHARACTER: f64 = 6.6;
/// The largest number of rows. More would take too much of the plot.
const ROWS: usize = 4;

/// A label and its position.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Label {
    pub(super) text: String,
    /// Its left end, in pixels.
    pub(super) x: i32,
    /// The row, from 0. The last row is next to the plot.
    pub(super) row: usize,
}

/// Places labels at these pixels, left of `right`, in as few rows as possible. Also returns the
/// number of labels for which there is no room.
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
