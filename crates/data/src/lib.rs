//! Data for mmlens: the shapes world, a generator of scenes, questions and the evidence for each answer.
