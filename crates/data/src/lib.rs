//! Image sources, label subsets, augmentation and the loader.
