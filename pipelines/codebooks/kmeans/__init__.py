"""K-means at any size: three ways of fitting behind one contract, features in memory or on disk.

    features ─► level 0 ─► residual ─► level 1 ─► … ─► dvse.codebook.Codebook

`train_codebook` is the way in. It refuses to know where features come from.
"""

from pipelines.codebooks.kmeans.codebook_training import (
    MODES,
    CodebookFit,
    check_memory,
    make_fitter,
    train_codebook,
)
from pipelines.codebooks.kmeans.feature_store import FeatureStore, FeatureStoreWriter
from pipelines.codebooks.kmeans.features import ArrayFeatures, Features
from pipelines.codebooks.kmeans.fitter import KMeansFit, KMeansFitter
from pipelines.codebooks.kmeans.reservoir import Reservoir
from pipelines.codebooks.settings import KMeansSettings

__all__ = [
    "MODES",
    "ArrayFeatures",
    "CodebookFit",
    "FeatureStore",
    "FeatureStoreWriter",
    "Features",
    "KMeansFit",
    "KMeansFitter",
    "KMeansSettings",
    "Reservoir",
    "check_memory",
    "make_fitter",
    "train_codebook",
]
