//! Labelled values with axes, units and provenance: what every mmlens analysis returns.
