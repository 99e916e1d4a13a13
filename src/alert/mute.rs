//! Holds back what a replay decides until the end that was noted at the attach.
