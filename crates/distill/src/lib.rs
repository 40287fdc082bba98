//! Step three: distillation of a teacher into a student.
