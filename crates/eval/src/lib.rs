//! Accuracy, linear probe, nearest neighbours and the report.
