//! The date, for templates that ask for it with `strftime_now`.

/// Seconds since 1970 as a date, in the calendar and the words of Python's `strftime` (English names, UTC).
///
/// `None` for a directive that is not known.
pub(super) fn strftime(format: &str, seconds: i64) -> Option<String> {
    let (day_number, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (year, month, day) = civil(day_number);
    // 1 January 1970 was a Thursday.
    let weekday = (day_number + 4).rem_euclid(7);
    let day_of_year = day_number - first_of(year) + 1;
    let half = match hour % 12 {
        0 => 12,
        hour => hour,
    };
    let month_name = MONTHS[usize::try_from(month - 1).ok()?];
    let day_name = DAYS[usize::try_from(weekday).ok()?];
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut directive = characters.next()?;
        let plain = directive == '-';
        if plain {
            directive = characters.next()?;
        }
        let number = |value: i64, width: usize| {
            if plain { value.to_string() } else { format!("{value:0width$}") }
        };
        out.push_str(&match directive {
            'Y' => number(year, 4),
            'y' => number(year.rem_euclid(100), 2),
            'm' => number(month, 2),
            'd' => number(day, 2),
            'e' => format!("{day:>2}"),
            'H' => number(hour, 2),
            'I' => number(half, 2),
            'M' => number(minute, 2),
            'S' => number(second, 2),
            'j' => number(day_of_year, 3),
            'f' => "000000".to_owned(),
            'u' => (if weekday == 0 { 7 } else { weekday }).to_string(),
            'w' => weekday.to_string(),
            'B' => month_name.to_owned(),
            'b' | 'h' => month_name[..3].to_owned(),
            'A' => day_name.to_owned(),
            'a' => day_name[..3].to_owned(),
            'p' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            'F' => format!("{year:04}-{month:02}-{day:02}"),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'D' => format!("{month:02}/{day:02}/{:02}", year.rem_euclid(100)),
            'R' => format!("{hour:02}:{minute:02}"),
            'Z' | 'z' => String::new(),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        });
    }
    Some(out)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The number of the first day of a year, counted from 1970.
fn first_of(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + (before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400)) - 477
}

/// Year, month and day of a day counted from 1970.
fn civil(day: i64) -> (i64, i64, i64) {
    // 400 years have 146097 days; the guess is never too late.
    let mut year = 1969 + (day * 400).div_euclid(146_097);
    while first_of(year + 1) <= day {
        year += 1;
    }
    let leap = first_of(year + 1) - first_of(year) == 366;
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut left = day - first_of(year);
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        // 2025-02-03 04:05:06 UTC, a Monday: 20122 days of 86400 s, and 4 h 5 min 6 s.
        let seconds = 20_122 * 86_400 + 4 * 3600 + 5 * 60 + 6;
        assert_eq!(strftime("%d %b %Y", seconds).unwrap(), "03 Feb 2025");
        assert_eq!(
            strftime("%A, %B %-d, %Y %H:%M:%S %j %I%p %y", seconds).unwrap(),
            "Monday, February 3, 2025 04:05:06 034 04AM 25"
        );
        assert_eq!(strftime("%F %T %%", 0).unwrap(), "1970-01-01 00:00:00 %");
        assert_eq!(strftime("%F", -1).unwrap(), "1969-12-31");
        // 2000 was a leap year, 1900 was not.
        assert_eq!(strftime("%F", 951_782_400).unwrap(), "2000-02-29");
        assert_eq!(civil(first_of(1900) + 59), (1900, 3, 1));
        assert_eq!(strftime("%Q", 0), None);
        assert_eq!(strftime("%", 0), None);
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil(-1000);
        for day in -999..200_000 {
            let (year, month, at) = civil(day);
            let next_day = (year, month) == (last.0, last.1) && at == last.2 + 1;
            let next_month = (year, month, at) == (last.0, last.1 + 1, 1) && last.2 >= 28;
            assert!(
                next_day || next_month || ((year, month, at) == (last.0 + 1, 1, 1) && last.2 == 31),
                "{day}"
            );
            last = (year, month, at);
        }
    }
}
