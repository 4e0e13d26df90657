//! The singular of an English word, as CHAIR's script takes it: by the rules of pattern 3.6 (De Smedt and Daelemans, Pattern for Python,
//! 2012), in their order, with what they get wrong (`bus` becomes `bu`, `cookies` stays).

/// Words that stay. So does whatever one of them ends with.
const SAME: &[&str] = &[
    "bison",
    "debris",
    "headquarters",
    "pincers",
    "trout",
    "bream",
    "diabetes",
    "herpes",
    "pliers",
    "tuna",
    "breeches",
    "djinn",
    "high-jinks",
    "proceedings",
    "whiting",
    "britches",
    "eland",
    "homework",
    "rabies",
    "wildebeest",
    "carp",
    "elk",
    "innings",
    "salmon",
    "chassis",
    "flounder",
    "jackanapes",
    "scissors",
    "christmas",
    "gallows",
    "mackerel",
    "series",
    "clippers",
    "georgia",
    "measles",
    "shears",
    "cod",
    "graffiti",
    "mews",
    "species",
    "contretemps",
    "mumps",
    "swine",
    "corps",
    "news",
    "swiss",
    "advice",
    "equipment",
    "happiness",
    "luggage",
    "software",
    "bread",
    "fruit",
    "information",
    "mathematics",
    "progress",
    "understanding",
    "butter",
    "furniture",
    "ketchup",
    "mayonnaise",
    "research",
    "water",
    "cheese",
    "garbage",
    "knowledge",
    "meat",
    "rice",
    "electricity",
    "gravel",
    "love",
    "mustard",
    "sand",
];
/// Plurals in -ies of words in -ie, which stay as they are.
const IE: &[&str] = &[
    "alergie", "cutie", "hoagie", "newbie", "softie", "veggie", "auntie", "doggie", "hottie", "nightie",
    "sortie", "weenie", "beanie", "eyrie", "indie", "oldie", "stoolie", "yuppie", "birdie", "freebie",
    "junkie", "sweetie", "zombie", "bogie", "goonie", "laddie", "pixie", "techie", "bombie", "groupie",
    "laramie", "quickie", "collie", "hankie", "lingerie", "reverie", "toughie", "cookie", "hippie", "meanie",
    "rookie", "valkyrie",
];
const IRREGULAR: &[(&str, &str)] = &[
    ("atlantes", "atlas"),
    ("atlases", "atlas"),
    ("axes", "axe"),
    ("beeves", "beef"),
    ("brethren", "brother"),
    ("children", "child"),
    ("corpora", "corpus"),
    ("corpuses", "corpus"),
    ("ephemerides", "ephemeris"),
    ("feet", "foot"),
    ("ganglia", "ganglion"),
    ("geese", "goose"),
    ("genera", "genus"),
    ("genii", "genie"),
    ("graffiti", "graffito"),
    ("helves", "helve"),
    ("kine", "cow"),
    ("leaves", "leaf"),
    ("loaves", "loaf"),
    ("men", "man"),
    ("mongooses", "mongoose"),
    ("monies", "money"),
    ("moves", "move"),
    ("mythoi", "mythos"),
    ("numena", "numen"),
    ("occipita", "occiput"),
    ("octopodes", "octopus"),
    ("opera", "opus"),
    ("opuses", "opus"),
    ("our", "my"),
    ("oxen", "ox"),
    ("penes", "penis"),
    ("penises", "penis"),
    ("people", "person"),
    ("sexes", "sex"),
    ("soliloquies", "soliloquy"),
    ("teeth", "tooth"),
    ("testes", "testis"),
    ("trilbys", "trilby"),
    ("turves", "turf"),
    ("zoa", "zoon"),
];
/// In compounds with a hyphen the first part is what is plural, if one of these is the second.
const PREPOSITIONS: &[&str] = &[
    "about", "before", "during", "of", "till", "above", "behind", "except", "off", "to", "across", "below",
    "for", "on", "under", "after", "beneath", "from", "onto", "until", "among", "beside", "in", "out",
    "unto", "around", "besides", "into", "over", "upon", "at", "between", "near", "since", "with", "athwart",
    "betwixt", "beyond", "but", "by",
];
/// What an ending becomes. Before it stands one of the letters of the third text, if there are any, but none of the fourth; `.` for any.
const ENDINGS: &[(&str, &str, &str, &str)] = &[
    ("ae", "a", ".", ""),
    ("itis", "itis", ".", ""),
    ("eaux", "eau", ".", ""),
    ("quizzes", "quiz", "", ""),
    ("matrices", "matrix", "", ""),
    ("apices", "apex", "", ""),
    ("vertices", "vertex", "", ""),
    ("indices", "index", "", ""),
    ("aliases", "alias", "", ""),
    ("statuses", "status", "", ""),
    ("i", "us", "octpvir|", ""),
    ("crises", "crisis", "", ""),
    ("axes", "axis", "", ""),
    ("testes", "testis", "", ""),
    ("shoes", "shoe", "", ""),
    ("oes", "o", "", ""),
    ("buses", "bus", "", ""),
    ("ice", "ouse", "m|l", ""),
    ("xes", "x", "", ""),
    ("ches", "ch", "", ""),
    ("sses", "ss", "", ""),
    ("shes", "sh", "", ""),
    ("movies", "movie", "", ""),
    ("ombies", "ombie", ".", ""),
    ("series", "series", "", ""),
    ("quies", "quy", "", ""),
    ("ies", "y", ".", "aeiouy"),
    ("lves", "lf", "aeo", ""),
    ("eaves", "eaf", ".", "d"),
    ("arves", "arf", "", ""),
    ("erves", "erve", "", ""),
    ("ives", "ife", "nlw", ""),
    ("ves", "f", "lr", ""),
    ("ves", "ve", "aeo", ""),
    ("sives", "sive", "", ""),
    ("tives", "tive", "", ""),
    ("hives", "hive", "", ""),
    ("ves", "fe", ".", "f"),
    ("analyses", "analyasis", ".", ""),
    ("analyses", "analysis", "", ""),
    ("bases", "basis", "", ""),
    ("diagnoses", "diagnosis", "", ""),
    ("parentheses", "parenthesis", "", ""),
    ("prognoses", "prognosis", "", ""),
    ("synopses", "synopsis", "", ""),
    ("theses", "thesis", "", ""),
    ("opses", "opsis", ".", ""),
    ("yses", "ysis", ".", ""),
    ("hoses", "hose", "", ""),
    ("doses", "dose", "", ""),
    ("roses", "rose", "", ""),
    ("ooses", "oose", "", ""),
    ("noses", "nose", "", ""),
    ("boses", "bose", "", ""),
    ("closes", "close", "", ""),
    ("poses", "pose", "", ""),
    ("oses", "osis", ".", ""),
    ("a", "um", "ti", ""),
    ("news", "news", "", ""),
    ("s", "", "", ""),
];

/// The singular of a word in lower case; of one that is no plural something else, as often as not.
pub(super) fn singular(word: &str) -> String {
    if let Some((first, rest)) = word.split_once('-')
        && PREPOSITIONS.contains(&rest.split('-').next().unwrap_or_default())
    {
        return format!("{}-{rest}", singular(first));
    }
    if let Some(owner) = word.strip_suffix('\'') {
        return format!("{}'s", singular(owner));
    }
    if SAME.iter().any(|same| same.ends_with(word)) {
        return word.to_owned();
    }
    if IE.iter().any(|ie| word.strip_suffix('s').is_some_and(|word| word.ends_with(ie))) {
        return word.to_owned();
    }
    let ends = |ending: &str| word.strip_suffix(ending);
    if let Some((before, one)) = IRREGULAR.iter().find_map(|(many, one)| Some((ends(many)?, one))) {
        return format!("{before}{one}");
    }
    if let Some(rest) = word.strip_prefix("oxen") {
        return format!("ox{rest}");
    }
    let fits = |(ending, to, among, not): &(&str, &str, &str, &str)| {
        let before = ends(ending)?;
        let last = before.chars().last();
        let allowed = match *among {
            "" => true,
            "." => last.is_some_and(|c| !not.contains(c)),
            letters => last.is_some_and(|c| letters.contains(c)),
        };
        allowed.then(|| format!("{before}{to}"))
    };
    ENDINGS.iter().find_map(fits).unwrap_or_else(|| word.to_owned())
}
