//! What mmlens methods share: path integrals, packed sweeps, perturbation, attention flow, labelling.
//!
//! Every mechanism is written against [`Subject`](mmlens_core::Subject) and holds no method of its own: a
//! method says what is varied and what is reported, this crate carries it out. One idea per file.
//!
//! | file | idea |
//! |---|---|
//! | `quadrature` | [`Rule`]: an integral as a weighted sum |
//! | `path` | [`PathIntegral`]: gradients at any sites, integrated from baselines |
//! | `panels` | an integral in panels that are halved where they miss most |
//! | `sweep` | [`Sweep`]: thousands of edits of one case, planned: what they share is computed once |
//! | `variants` | [`sweep()`]: variants prepared by the caller, in batches, from a common start ([`Start`]) |
//! | `between` | [`Contrast`]: two prompts of equal length, and gradients at one of them or on the way ([`Between`]) |
//! | `circuit` | [`Circuit`]: what writes to the stream of a decoder ([`Sender`]) and what reads it ([`Receiver`]) |
//! | `dictionary` | [`Dictionary`]: sparse features of activations, and [`WithDictionary`]: features as sites |
//! | `projection`, `gain` | [`Projection`], [`Gain`]: products and norms by the weights that a subject shows, and their gradients |
//! | `weight_gradients` | [`WeightGradients`]: gradients of many weights of one case, their inner products and sketches |
//! | `products` | values as vectors of nodes, and their inner products |
//! | `window` | [`Windows`]: parts of a picture, and what many windows say about each place |
//! | `units` | [`Units`]: parts of a sample that can be absent, and passes over coalitions of them ([`Hiding`]) |
//! | `shapley` | [`shapley::exact`], [`shapley::kernel`], [`shapley::permutation`]: shares of players in a game |
//! | `flow` | [`Mixing`], [`Flow`]: attention as shares that flow through layers |
//! | `relevance` | [`Taken`], [`Layers`], [`Crossing`]: relevance along attention, by its weights and their gradients |
//! | `sinks` | [`drawn()`], [`sinks()`]: positions that attention rests on |
//! | `distribution` | what a row of logits says |
//! | `label`, `pool`, `positions` | from values at sites to labelled tables |
//! | `gather`, `shows` | rows of sites, what each of them shows ([`Shows`]), and [`examples()`] to learn from |
//! | `neurons` | [`Neurons`]: what all of them hold over a data set, their largest values ([`Largest`]), rows that stand for all ([`RowSample`]) |
//! | `ranks` | [`MannWhitney`], [`benjamini_hochberg`]: two groups by the ranks of their values, and many such tests |
//! | `vocabulary` | [`Unembedding`], [`ValueVectors`]: directions of the stream as words, and what neurons write |
//! | `crop` | squares of pictures |
//! | `aim` | [`Aim`]: what of an answer is explained |
//! | `phrase` | where a phrase stands in a text |
//! | `spoken` | [`Spoken`]: the tokens of an answer, explained one by one |
//! | `lbfgs`, `logistic`, `lasso`, `ridge`, `kmeans`, `nmf` | [`minimise`], [`Logistic`], [`Code`], [`Ridge`], [`KMeans`], [`Factors`]: what is learned from rows |
//! | `cholesky`, `matrix`, `eigen` | [`Matrix`], [`Eigen`]: rows in double precision, and the eigenvectors of what they span |
//! | `shared_space`, `wordlist` | where texts lie in the space of a dual encoder ([`text_vectors`]), and lists of them ([`WordList`]) |
//! | `held` | how many numbers sites hold |
//! | `hsic` | what rows of two sites have in common |
//! | `draws` | [`normal`], [`direction`], [`drawn_order`]: draws that depend on a seed alone |
//! | `pair` | [`OpenPair`]: a clean and a corrupted prompt, comparable position by position |
//! | `judge` | [`Judged`], [`Pass`]: how well texts fit a sample, by whatever the subject says of them |
//! | `exchange` | [`Pictures`], [`Wording`]: what stands in the place of a modality |
//! | `bootstrap` | [`mean_interval`], [`sign_flips`]: means of cases, and what chance makes of them |
//! | `nearest` | [`Nearest`]: the nearest of many rows to some vectors |
//! | `draws` | [`normal`]: draws that depend on a seed alone |
//! | `fold`, `progress` | ranks, batches, cancellation |

pub mod aim;
mod between;
mod bootstrap;
mod cholesky;
mod circuit;
mod crop;
pub mod dictionary;
pub mod distribution;
mod draws;
mod eigen;
mod elastic;
mod exchange;
mod flow;
mod fold;
mod gain;
mod gather;
mod gaze;
mod held;
pub mod hsic;
mod indices;
mod judge;
mod kmeans;
pub mod label;
mod lasso;
mod lbfgs;
mod logistic;
mod looks;
mod matrix;
mod nearest;
mod neurons;
mod nmf;
mod pair;
mod panels;
mod path;
mod phrase;
mod pool;
mod positions;
mod products;
mod progress;
mod projection;
mod quadrature;
mod ranks;
mod relevance;
mod ridge;
mod scale;
mod scanned;
pub mod shapley;
mod shared_space;
mod shows;
mod sinks;
mod spoken;
mod stacked;
mod sweep;
pub mod units;
mod variants;
mod vocabulary;
mod weight_gradients;
mod welch;
mod window;
mod wordlist;

pub use aim::{Aim, AimError, Settled, Sought};
pub use between::{Between, Contrast, Prompts, feeds};
pub use bootstrap::{drawn_index, mean_interval, sign_flips};
pub use cholesky::Cholesky;
pub use circuit::{Circuit, NoNode, Receiver, Sender};
pub use crop::crop;
pub use dictionary::{Dictionary, DictionaryError, WithDictionary};
pub use draws::{direction, drawn_order, normal};
pub use eigen::{Eigen, principal};
pub use elastic::{ElasticNet, Penalty};
pub use exchange::{Pictures, Wording};
pub use flow::{Flow, FlowSettings, Heads, Mixing};
pub use fold::{folded, reshaped, states_at, unfolded};
pub use gain::{Gain, HeldGain};
pub use gather::{
    Gathered, Held, examples, examples_of, examples_seen, gathered, observed, published, row_count,
    row_width, rows_at, rows_in, rows_of, rows_shown,
};
pub use gaze::{Gaze, Kinds, gazes};
pub use held::{held, numbers};
pub use indices::Indices;
pub use judge::{Judged, Pass};
pub use kmeans::KMeans;
pub use lasso::{Code, CodeLimits};
pub use lbfgs::{Limits, Minimum, minimise};
pub use logistic::{Classed, Logistic, vectors};
pub use looks::{Looks, looks};
pub use matrix::{Matrix, dot};
pub use nearest::{Near, Nearest, Nearness};
pub use neurons::{Largest, NeuronAt, Neurons, NoNeuron, RowSample, Seen, quantile, shuffled};
pub use nmf::{Factors, Search};
pub use pair::OpenPair;
pub use path::{Along, End, Nodes, Path, PathIntegral};
pub use pool::{Pool, summed};
pub use positions::{Positions, one_row};
pub use products::{as_vector, by_head, cosines, less, products, row_cosines};
pub use progress::{Progress, batches, of_range};
pub use projection::{ProductGradient, Projection, Pulled};
pub use quadrature::{Node, Rule};
pub use ranks::{MannWhitney, Ranked, benjamini_hochberg};
pub use relevance::{Crossing, Layers, Taken};
pub use ridge::Ridge;
pub use scale::Scale;
pub use shared_space::{first_picture, projected, text_inputs, text_vectors};
pub use shows::Shows;
pub use sinks::{Drawn, drawn, sinks};
pub use spoken::Spoken;
pub use stacked::Stacked;
pub use sweep::{
    DataError, DataSwept, Edit, Measured, Metric, OutputFn, Prepare, Reference, Sweep, Swept, sweep_data,
};
pub use units::{Absent, Coalition, HeardBox, Hiding, Segments, Slic, Unit, UnitError, Units, Veil, Veiled};
pub use variants::{Start, score, sweep};
pub use vocabulary::{Fold, Unembedding, ValueVectors};
pub use weight_gradients::{Shares, WeightFactors, WeightGradients, gradient_product, is_covered};
pub use welch::Welch;
pub use window::Windows;
pub use wordlist::WordList;
