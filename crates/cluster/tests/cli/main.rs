//! The command line for people: the built program, what it prints in both languages, and its exit status.

mod afar;
mod browser;
mod check;
mod cluster;
mod codes;
mod console;
mod drift;
mod kubelet;
mod lifecycle;
mod manual;
mod migrate;
mod plan;
mod program;
mod proof;
mod reach;
mod report;
mod status;
mod switch;
mod uninstall;
