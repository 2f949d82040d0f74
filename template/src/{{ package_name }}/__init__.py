"""The science: data, features, model, evaluation. No KFP, no cloud."""
