//! Means over replications, with intervals.
//!
//! Failures come in episodes, so turns of one run are far from independent: intervals are always over replications,
//! never over pooled turns.

/// The mean of one value per replication.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The 95 % interval of the mean, by Student's t. With fewer than two values it is the value itself.
pub fn interval95(values: &[f64]) -> [f64; 2] {
    let centre = mean(values);
    let count = values.len();
    if count < 2 {
        return [centre, centre];
    }
    let squares: f64 = values.iter().map(|value| (value - centre) * (value - centre)).sum();
    let error = (squares / (count - 1) as f64 / count as f64).sqrt();
    let half = student975(count - 1) * error;
    [centre - half, centre + half]
}

/// The interval of a mean of shares, which cannot leave 0 to 1.
pub fn share_interval95(values: &[f64]) -> [f64; 2] {
    interval95(values).map(|edge| edge.clamp(0.0, 1.0))
}

/// The 97.5 % quantile of Student's t: exact up to three degrees of freedom, then the expansion by Cornish and
/// Fisher around the normal quantile (Abramowitz and Stegun 26.7.5), which is right to 3 digits there.
fn student975(degrees: usize) -> f64 {
    const Z: f64 = 1.959_963_984_540_054;
    match degrees {
        0 | 1 => 12.706_204_736_174_7,
        2 => 4.302_652_729_749_46,
        3 => 3.182_446_305_284_26,
        _ => {
            let n = degrees as f64;
            let (z3, z5, z7, z9) =
                (Z * Z * Z, Z * Z * Z * Z * Z, Z * Z * Z * Z * Z * Z * Z, Z * Z * Z * Z * Z * Z * Z * Z * Z);
            let first = (z3 + Z) / 4.0;
            let second = (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / 96.0;
            let third = (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / 384.0;
            let fourth = (79.0 * z9 + 776.0 * z7 + 1482.0 * z5 - 1920.0 * z3 - 945.0 * Z) / 92_160.0;
            Z + first / n + second / (n * n) + third / (n * n * n) + fourth / (n * n * n * n)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_s_quantiles_are_those_of_the_tables() {
        let table =
            [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (29, 2.045), (99, 1.984), (999, 1.962)];
        for (degrees, quantile) in table {
            assert!((student975(degrees) - quantile).abs() < 0.003, "{degrees}: {}", student975(degrees));
        }
    }

    #[test]
    fn an_interval_is_centred_and_as_wide_as_its_values_say() {
        let [low, high] = interval95(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((low - 1.037).abs() < 0.003 && (high - 4.963).abs() < 0.003, "{low} {high}");
        assert_eq!(interval95(&[7.0]), [7.0, 7.0]);
        assert_eq!(interval95(&[7.0, 7.0, 7.0]), [7.0, 7.0]);
        assert_eq!(share_interval95(&[1.0, 0.99, 1.0])[1], 1.0);
    }
}
