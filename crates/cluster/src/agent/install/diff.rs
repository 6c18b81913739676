//! What would change, in the form that `diff -u` prints and people read.

/// The difference between two texts under their names; empty if there is none.
pub(crate) fn unified(from_name: &str, from: &str, to_name: &str, to: &str) -> String {
    if from == to {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (from.lines().collect(), to.lines().collect());
    let mut text = format!("--- {from_name}\n+++ {to_name}\n");
    for hunk in hunks(&lines(&old, &new)) {
        let (mut before, mut after) = (0, 0);
        for line in hunk {
            before += usize::from(line.mark != '+');
            after += usize::from(line.mark != '-');
        }
        let first = &hunk[0];
        let start = |at: usize, count: usize| if count == 0 { at } else { at + 1 };
        let (from_line, to_line) = (start(first.at.0, before), start(first.at.1, after));
        text.push_str(&format!("@@ -{from_line},{before} +{to_line},{after} @@\n"));
        for line in hunk {
            text.push_str(&format!("{}{}\n", line.mark, line.text));
        }
    }
    text
}

/// One line: where it stands in both texts, and whether it stays, goes or comes.
struct Line<'a> {
    mark: char,
    text: &'a str,
    at: (usize, usize),
}

/// Lines kept around a change.
const AROUND: usize = 3;
/// The most lines compared one by one; longer texts are shown as wholly replaced.
const MOST: usize = 2000;

fn lines<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let common = if old.len().max(new.len()) > MOST { vec![] } else { common(old, new) };
    let (mut from, mut to) = (0, 0);
    let mut lines = Vec::new();
    for (at_old, at_new) in common.into_iter().chain([(old.len(), new.len())]) {
        while from < at_old {
            lines.push(Line { mark: '-', text: old[from], at: (from, to) });
            from += 1;
        }
        while to < at_new {
            lines.push(Line { mark: '+', text: new[to], at: (from, to) });
            to += 1;
        }
        if from < old.len() && to < new.len() {
            lines.push(Line { mark: ' ', text: old[from], at: (from, to) });
        }
        from += 1;
        to += 1;
    }
    lines
}

/// A longest run of lines that both have, as positions.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let width = new.len() + 1;
    let mut longest = vec![0_u16; (old.len() + 1) * width];
    for from in (0..old.len()).rev() {
        for to in (0..new.len()).rev() {
            longest[from * width + to] = if old[from] == new[to] {
                longest[(from + 1) * width + to + 1] + 1
            } else {
                longest[(from + 1) * width + to].max(longest[from * width + to + 1])
            };
        }
    }
    let (mut from, mut to, mut found) = (0, 0, Vec::new());
    while from < old.len() && to < new.len() {
        if old[from] == new[to] {
            found.push((from, to));
            from += 1;
            to += 1;
        } else if longest[(from + 1) * width + to] >= longest[from * width + to + 1] {
            from += 1;
        } else {
            to += 1;
        }
    }
    found
}

/// Changes with the lines around them.
fn hunks<'a, 'b>(lines: &'b [Line<'a>]) -> Vec<&'b [Line<'a>]> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.mark != ' ') {
        let (start, end) = (at.saturating_sub(AROUND), (at + AROUND + 1).min(lines.len()));
        match ranges.last_mut() {
            Some(last) if start <= last.1 => last.1 = end,
            _ => ranges.push((start, end)),
        }
    }
    ranges.into_iter().map(|(start, end)| &lines[start..end]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_as_people_know_it() {
        for (from, to, wanted) in [
            ("a\n", "a\n", ""),
            ("", "a\n", "--- x\n+++ y\n@@ -0,0 +1,1 @@\n+a\n"),
            ("a\n", "", "--- x\n+++ y\n@@ -1,1 +0,0 @@\n-a\n"),
            ("a\nb\nc\n", "a\nB\nc\nd\n", "--- x\n+++ y\n@@ -1,3 +1,4 @@\n a\n-b\n+B\n c\n+d\n"),
            (
                "1\n2\n3\n4\n5\n6\n7\n8\n9\n",
                "1\n2\n3\n4\n6\n7\n8\n9\n",
                "--- x\n+++ y\n@@ -2,7 +2,6 @@\n 2\n 3\n 4\n-5\n 6\n 7\n 8\n",
            ),
        ] {
            assert_eq!(unified("x", from, "y", to), wanted);
        }
    }
}
