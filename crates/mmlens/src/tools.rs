//! The tools of the library, leaf by leaf: what a user finds there beside the methods.

use mmlens_core::{Leaf, Reach, Tool};

/// The table. A path of the library is one of this crate, or it does not build.
macro_rules! tools {
    ($($leaf:ident $id:literal $question:literal $kind:ident ($($reach:tt)+);)*) => {
        /// What stands at the leaves of the survey beside the methods, in the order of the leaves.
        pub static TOOLS: &[Tool] = &[$(
            Tool { leaf: Leaf::$leaf, id: $id, question: $question, reach: tools!(@ $kind $($reach)+) },
        )*];
    };
    (@ command $text:literal) => { Reach::Command(concat!("mmlens ", $text)) };
    (@ library $($part:ident)::+) => {{
        #[allow(unused_imports, reason = "that it is there is all")]
        use crate::$($part)::+ as _;
        Reach::Library(concat!("mmlens" $(, "::", stringify!($part))+))
    }};
}

tools! {
    Input "foils" "Which words of a caption can be exchanged so that it is false?" library(data::foil);
    Input "counterfactual-scenes" "How does a scene look with one object changed, and nothing else?" command("scene --seed 3 --edit 0:colour=blue --out FOLDER");
    Input "maps-of-people" "Do people look where a map lies?" command("evaluate MODEL --cases PATH --metric agreement --out FOLDER");
    Output "grounded-text" "Where on the picture do the words of an answer point?" command("ask MODEL --image FILE --ask QUESTION --boxes FORMAT");
    Output "rationales" "Which reasons do people give, in words, boxes and maps, and how near are those of a model?" library(data::rationale);
    Output "sentences" "What does a finding say, in sentences?" command("show FINDING --words");
    Benchmark "readers" "How good are a model's answers over POPE, VQA v2, COCO, MME, VALSE, VLMEvalKit's tables, LLaVA's or one's own data?" command("bench MODEL --reader LAYOUT --data FILE --out FOLDER");
    Benchmark "scorers" "How do POPE, MME, VQA, CHAIR, pairs and choices score answers, beside answers that need no model?" command("bench MODEL --reader LAYOUT --data FILE --scorer SCORER --out FOLDER");
    Benchmark "metrics" "What is a map worth, beside a random map, a blob, an edge filter and random weights?" command("evaluate MODEL --cases PATH --method METHOD --out FOLDER");
    Modality "recordings" "Which part of a recording led to the answer?" command("explain tones-qwen2-audio --audio FILE --ask QUESTION --out FOLDER");
    Modality "clips" "Which frames and patches of a clip led to the answer?" command("explain MODEL --video FOLDER --fps F --ask QUESTION --out FOLDER");
    Modality "tones-world" "How does a recording sound of which every answer's evidence is known?" command("scene --world tones --seed 3 --out FOLDER");
    Layer "sites" "Which places does a model have that can be read, changed and explained?" command("sites MODEL");
    Layer "activations" "What stands at these places, over a data set?" command("record MODEL --cases PATH --read SITES --out FOLDER");
    Architecture "what-if" "What if this patch, word or head were not there?" command("studio MODEL --image FILE --ask QUESTION");
    Architecture "two-models" "Do two models look at the same places?" command("explain MODEL --beside OTHER --image FILE --ask QUESTION --out FOLDER");
    Architecture "comparison" "How far do the maps of two findings agree?" command("compare FINDING OTHER --out PAGE");
    Training "recorder" "What is learned when in a training?" library(training::Recorder);
    Training "right-reasons" "Does a training that looks where people say give other explanations?" library(training::RightReasons);
    Inference "decoders" "How does the answer read if it is written by several branches?" command("ask MODEL --image FILE --ask QUESTION --decoder vcd");
}
