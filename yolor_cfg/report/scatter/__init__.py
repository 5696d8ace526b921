"""A chart of named points: costs against scores, as SVG, page or image."""
