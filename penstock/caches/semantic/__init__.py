"""May the answer to a question that was met before serve this one? Decided by a model that learns online, below a
bound on wrong answers that audits prove. Pure and deterministic: chance, time, embeddings and labels come in."""
