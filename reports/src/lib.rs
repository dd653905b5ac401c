//! What a study found, as a terminal table, JSON, SVG, HTML and JUnit.
