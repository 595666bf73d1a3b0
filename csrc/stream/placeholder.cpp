// placeholder, replaced by the first source here
